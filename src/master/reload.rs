//! Generations come and go: putting one into effect, opening the logs anew.

use std::os::fd::BorrowedFd;

use ferricorn_base::lifeline::Down;
use ferricorn_base::logs;
use nix::sys::stat::{Mode, umask};

use super::{Master, mold};
use crate::children::Child;
use crate::logging::LogFiles;
use crate::state::{self, WorkerId};
use crate::title;

impl Master {
    /// A generation serves alone now: what the master itself has of a configuration follows.
    pub(super) fn commit(&mut self, number: state::Generation) {
        self.serving = number;
        let Some(generation) = self.generations.get(&number) else {
            return;
        };
        logs::set_level(self.level_of(generation));
        if let Err(error) = generation.logs.take_effect() {
            log::error!("cannot change the error log: {error}");
        }
        if let Some(recipe) = &generation.recipe {
            umask(Mode::from_bits_truncate(recipe.config.umask));
            recipe.adjust(generation.sockets());
        }
        let urls = generation.urls();
        self.close_abandoned_listeners();
        self.end_former_aides();
        log::info!("Reload complete: generation {number} at {urls}");
        self.name();
    }

    /// Opens the logs of all generations anew; those of the workers go down the life-lines, since
    /// the workers may not open them. Nobody is recycled.
    pub(super) fn reopen(&mut self) {
        for generation in self.generations.values_mut() {
            match generation.logs.reopen() {
                Ok(files) => generation.logs = files,
                // The old files go on.
                Err(error) => log::error!("{error}"),
            }
        }
        if let Some(Err(error)) = self
            .generations
            .get(&self.serving)
            .map(|g| g.logs.take_effect())
        {
            log::error!("cannot change the error log: {error}");
        }
        self.children
            .values()
            .for_each(|child| self.send_logs(child));
        let generation = self.generations.values().find(|g| g.recipe.is_some());
        if let Some(generation) = generation {
            let (news, fds) = new_logs(&generation.logs);
            mold::tell(self.mold.as_ref(), news, &fds);
            self.aides.tell(news, &fds);
        }
        log::info!("Logs opened anew");
    }

    /// Sends one worker the log files of its generation as they are.
    pub(super) fn send_logs_to(&self, worker: WorkerId) {
        if let Some(child) = self.children.get(&worker) {
            self.send_logs(child);
        }
    }

    fn send_logs(&self, child: &Child) {
        let Some(generation) = self.generations.get(&child.generation) else {
            return;
        };
        let (news, fds) = new_logs(&generation.logs);
        child.tell(news, &fds);
    }

    /// All workers of the first start have answered.
    pub(super) fn announce(&mut self) {
        let Some(generation) = self.generations.get_mut(&self.serving) else {
            return;
        };
        log::info!("Ready: serving at {}", generation.urls());
        if self.waiting.is_waited_for() {
            let done = self.waiting.serves().and_then(|()| {
                // Standard error is /dev/null now.
                generation.logs = generation.logs.reopen()?;
                generation.logs.take_effect()
            });
            if let Err(error) = done {
                log::error!("cannot leave the terminal: {error}");
            }
        }
        self.tell_that_it_serves();
    }

    /// Names the master process after what it serves.
    pub(super) fn name(&self) {
        let second = if self.state.is_second() {
            "second "
        } else {
            ""
        };
        let name = self.suffix(self.serving);
        title::set(&format!("ferricorn: {second}master{name}"));
    }

    /// " [name]", for the titles; empty without a name.
    pub(super) fn suffix(&self, generation: state::Generation) -> String {
        let name = self
            .generations
            .get(&generation)
            .and_then(|g| g.name.as_deref());
        name.map(|name| format!(" [{name}]")).unwrap_or_default()
    }
}

/// What tells of log files, and their descriptors.
fn new_logs(files: &LogFiles) -> (Down, Vec<BorrowedFd<'_>>) {
    let mut fds = vec![files.error()];
    fds.extend(files.access());
    let access = files.access().is_some();
    let news = Down::Logs {
        error: true,
        access,
    };
    (news, fds)
}
