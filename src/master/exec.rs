//! Executing the program anew in this very process, and beginning as one that was.
//!
//! Same pid, same parent, same children, same sockets. All signals are blocked from before the state
//! is written down until the next image watches them, so that none is lost; what was counted but not
//! dealt with is raised again, for the system to keep. If the program cannot be executed after all,
//! everything is as it was. What begins supervises the workers that are there before it thinks of its
//! own, and goes on doing so whatever becomes of those.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use ferricorn_base::board::Board;
use ferricorn_base::logs;
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::sys::monotonic as now;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::stat::{Mode, umask};

use super::Master;
use super::aide::Aides;
use super::load::Measured;
use super::overload::Overload;
use super::probe::Proof;
use crate::children::Doors;
use crate::config::{Call, Config, Known, Names};
use crate::control::Control;
use crate::control::words::News;
use crate::daemon::Waiting;
use crate::diagnose::{Oom, Pauses};
use crate::generation::{self, Generation, Held};
use crate::handover::{self, Handover};
use crate::memory::{Headroom, Scales};
use crate::notify::Notifier;
use crate::program::Program;
use crate::registry::Registry;
use crate::second::Other;
use crate::signals::Signals;
use crate::sockets::{Inherited, Listener};
use crate::state::{self, Event};
use crate::sys;
use crate::tally;
use crate::watch::Watch;

impl Master {
    /// Executes what was proved. It returns only when that failed; then nothing has changed.
    pub(super) fn execute(&mut self) -> io::Error {
        let Some(proof) = self.proof.take() else {
            return io::Error::other("nothing was proved");
        };
        self.hook("pre_exec", |hooks| hooks.pre_exec());
        let before = match SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK) {
            Ok(before) => before,
            Err(errno) => return errno.into(),
        };
        let error = self.become_next(proof);
        // It has not worked: everything back.
        let _ = before.thread_set_mask();
        if let Some(recipe) = self.generations.values().find_map(|g| g.recipe.as_ref()) {
            umask(Mode::from_bits_truncate(recipe.config.umask));
            let _ = recipe.directory.enter();
        }
        crate::server::raise_descriptors();
        error
    }

    fn become_next(&self, proof: Proof) -> io::Error {
        // Counted by handlers that the next image does not have.
        for (signal, _) in self.signals.take() {
            let _ = sys::kill(std::process::id() as i32, signal);
        }
        let Some(image) = &proof.image else {
            return io::Error::other("there is nothing to execute");
        };
        let prepare = || {
            let handover = self.handover(Some(&proof))?;
            let state = handover::seal(&handover)?;
            Ok((handover.descriptors(), state))
        };
        let (mut keep, state) = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => return error,
        };
        keep.push(sys::number(state.as_fd()));
        let highest = keep.iter().copied().max().unwrap_or(0);
        let error = match self.program.restore(image, highest) {
            Ok(()) => {
                let kept = keep.iter().try_for_each(|fd| sys::keep_on_exec(*fd));
                let variable = format!("next:{}", sys::number(state.as_fd()));
                logs::flush();
                match kept {
                    Ok(()) => {
                        let variable = (handover::VARIABLE, &*variable);
                        self.program.execute(image, variable)
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        for fd in &keep {
            let _ = sys::close_on_exec(*fd);
        }
        error
    }

    /// Goes on as the next image: the workers first, then what this program is to serve.
    ///
    /// # Errors
    /// What was handed over cannot be taken. The image before has had it read by this very program.
    pub fn adopt(handover: Handover, registry: Registry, name: Option<&str>) -> io::Result<Master> {
        let held = handover.held(true)?;
        let mut generations = handover.generations(&held)?;
        let children = handover.children()?;
        let doors = handover.doors.iter();
        let doors = doors
            .map(|door| door.map(sys::take_over).transpose())
            .collect::<io::Result<Vec<_>>>()?;
        let [giving, taking] = handover.rendezvous;
        let rendezvous = [sys::take_over(giving)?, sys::take_over(taking)?];
        let board = Board::adopt(sys::take_over(handover.board)?)?;
        tally::begin(&board);
        if let Some(serving) = generations.get(&handover.serving) {
            let outlets = serving.logs.error_outlets()?;
            let set = handover.level.as_ref();
            let set = set.and_then(|set| set.over(serving.log_level));
            logs::init(set.unwrap_or(serving.log_level), outlets).map_err(io::Error::other)?;
        }
        // All are blocked still, and stay so until somebody is there to deal with them.
        let signals = Signals::watch()?;
        ferricorn_base::sys::ignore_signals(&[libc::SIGXFSZ])?;
        crate::server::raise_descriptors();

        let program = Program::executed(handover.origin);
        let names = Names::known(handover.names);
        names.seal();
        let number = handover.next;
        let call = program.call(name, names.clone());
        let inherited = handover.inherited;
        let other = handover.other.as_ref().map(Other::adopt).transpose()?;
        let master = generation::Master {
            pid: std::process::id(),
            second: handover.state.is_second(),
        };
        let proved = handover.proved;
        let made = make(number, &call, proved, &held, &inherited, &registry, master);
        let known = |one: &Rc<Listener>| {
            let mut controls = generations.values().filter_map(|g| g.control.as_ref());
            controls.any(|control| Rc::ptr_eq(control, one))
        };
        let broken = match made {
            Ok(mut generation) => {
                let set = handover.level.as_ref();
                let set = set.and_then(|set| set.over(generation.log_level));
                if let (Some(recipe), Some(level)) = (&mut generation.recipe, set) {
                    recipe.log_level = level;
                }
                if let Some(socket) = generation.control.as_ref().filter(|socket| !known(socket)) {
                    log::info!("Control socket: {}", socket.url());
                }
                let serves = |socket: &Rc<Listener>| {
                    let mut before = generations.values().flat_map(|g| &g.metrics);
                    before.any(|other| Rc::ptr_eq(other, socket))
                };
                if !generation.metrics.iter().all(serves) {
                    let urls = generation::urls(&generation.metrics);
                    log::info!("Metrics, status and health at: {urls}");
                }
                if let Some(recipe) = &generation.recipe {
                    let warnings = recipe.warnings(&generation.listeners);
                    warnings.iter().for_each(|text| log::warn!("{text}"));
                }
                generations.insert(number, generation);
                String::new()
            }
            Err(reason) => reason,
        };
        let policy = generations
            .get(&number)
            .or(generations.get(&handover.serving))
            .map_or(state::Policy::FALLBACK, |generation| generation.policy);
        let wanted = handover.state.wanted();
        let master = Master {
            program,
            names,
            registry,
            inherited,
            signals,
            notifier: Notifier::resume(handover.notified),
            waiting: Waiting::nobody(),
            state: handover.state,
            poison: handover.poison,
            events: VecDeque::from([Event::Executed(number, policy)]),
            generations,
            serving: handover.serving,
            next: number + 1,
            broken,
            trial: None,
            proof: None,
            watch: handover.watch.map(|plan| Watch::new(plan, now())),
            executes: false,
            children,
            past: handover.past,
            mold: None,
            spent: handover.molds,
            unwritten: BTreeMap::new(),
            aides: Aides::adopt(&handover.aides.0, handover.aides.1),
            doors: Doors::adopt(doors),
            rendezvous: Rendezvous::of(rendezvous),
            control: Control::adopt(handover.control),
            board: Some(board),
            oom: Oom::watch(now()),
            scales: Scales::default(),
            measured: Measured::default(),
            headroom: Headroom::find(),
            looked: now(),
            pauses: Pauses::default(),
            overload: Overload::default(),
            level: handover.level,
            logged: logs::Counted::default(),
            exit: None,
            counted: Some(wanted),
            other,
        };
        Ok(master)
    }

    /// Supervises what was adopted; returns the exit code.
    pub fn resume(mut self) -> u8 {
        log::info!("Executed {}", self.program.path().display());
        self.publish(&News::Executed {
            reload: self.state.next_reload() - 1,
            server: env!("CARGO_PKG_VERSION").to_owned(),
        });
        // They have loaded what nobody is made from any more.
        for pid in &self.spent {
            let _ = sys::kill(*pid, libc::SIGKILL);
        }
        self.name();
        if let Some(Err(error)) = (!self.state.is_second()).then(|| self.claim_pidfiles()) {
            log::error!("{error}");
        }
        // Somebody is there to deal with them, and whoever is forked inherits what is blocked.
        if let Err(error) = self.program.unblock() {
            log::error!("cannot unblock signals: {error}");
        }
        self.hook("on_reload", |hooks| hooks.on_reload());
        self.reap();
        self.happened(Event::Tick);
        self.supervise()
    }
}

/// The generation that was proved, from the text that was proved.
fn make(
    number: state::Generation,
    call: &Call,
    proved: Option<(std::ffi::OsString, String)>,
    held: &Held,
    inherited: &Inherited,
    registry: &Registry,
    master: generation::Master,
) -> Result<Generation, String> {
    let known = Known {
        apps: &registry.apps(),
        classes: &registry.classes(),
        defaults: &registry.defaults(),
    };
    let config = Config::load_with(call, &known, &|path: &Path| match &proved {
        Some((file, text)) if path == Path::new(file) => Ok(text.clone()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })?;
    umask(Mode::from_bits_truncate(config.umask));
    Generation::make(number, config, held, inherited, registry, master)
        .map_err(|failure| failure.text)
}
