//! A worker's dying breath: what it still says when a fatal signal, an exit in the middle of a
//! request or its master's patience ends it.
//!
//! Everything here that runs in a signal handler makes async-signal-safe calls only
//! (signal-safety(7)), stores to atomics, and, last, asks the unwinder; should that hang, an alarm
//! ends the process. No allocation, no lock, no panic. A thread speaks for itself: who
//! dies sends the others SIGUSR2, so that nobody writes to a connection that another one writes to.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use super::desk::{self, Desk, Told};
use super::{MASTER, Map, ORPHAN_SECONDS};
use crate::board::last::{self, EXIT, RECORD};
use crate::board::{self, Cell};

pub use super::desk::{cover, expose};

/// Bytes of a thread's stack for signal handlers: the unwinder's frames, and the registers of the
/// largest processors.
const STACK: usize = 64 * 1024;
/// How long the others may take to answer, in ms, and the unwinder, in s.
const OTHERS_MS: i32 = 100;
const GUARD_SECONDS: u32 = 2;
/// How long a client may take to close after its answer, in ms, so that it is not reset by bytes of
/// its own that nobody has read.
const LINGER_MS: i32 = 100;
/// The signals that a program sends itself by an error.
const FATAL: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];
/// Head and content of what a client is answered whose worker dies, or takes too long.
const BAD_GATEWAY: (&str, &str) = (
    "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\n\
     Content-Length: 16\r\nConnection: close\r\n\r\n",
    "502 Bad Gateway\n",
);
const GATEWAY_TIMEOUT: (&str, &str) = (
    "HTTP/1.1 504 Gateway Timeout\r\nContent-Type: text/plain; charset=utf-8\r\n\
     Content-Length: 20\r\nConnection: close\r\n\r\n",
    "504 Gateway Timeout\n",
);

/// The process that this is about: what it forks is not.
static OWN: AtomicI32 = AtomicI32::new(0);
/// The thread that ends the process.
static DYING: AtomicI32 = AtomicI32::new(0);
/// The worker's pages of the scoreboard, mapped for good.
static AREA: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// What a handler has unless something else is said, in µs; 0: no limit.
static USUAL_US: AtomicU64 = AtomicU64::new(0);
/// Where bytes go that nobody wants.
static SINK: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// Says on the scoreboard that the request of `cell` is with this thread from now on.
pub fn serve(cell: Cell) {
    if let Some(area) = area() {
        board::name_thread(area, cell, thread());
    }
}

/// This thread's desk and its stack for signal handlers, until dropped: on the same thread.
#[derive(Debug)]
pub struct Seated {
    stack: *mut c_void,
    before: libc::stack_t,
}

/// Gives this thread a desk, if one is free. `limited` tells that it runs handlers, whose time
/// is limited.
///
/// # Errors
/// What mmap(2) or sigaltstack(2) answer.
pub fn sit(limited: bool) -> io::Result<Seated> {
    // SAFETY: a fresh mapping of the kernel's choice; both stack_t are valid for the calls, and the
    // memory stays mapped until `Seated` has taken it out of use.
    let seated = unsafe {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let stack = libc::mmap(ptr::null_mut(), STACK, protection, flags, -1, 0);
        if stack == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let new = libc::stack_t {
            ss_sp: stack,
            ss_flags: 0,
            ss_size: STACK,
        };
        let mut before: libc::stack_t = std::mem::zeroed();
        if libc::sigaltstack(&raw const new, &raw mut before) < 0 {
            let error = io::Error::last_os_error();
            libc::munmap(stack, STACK);
            return Err(error);
        }
        Seated { stack, before }
    };
    desk::sit(thread(), limited);
    Ok(seated)
}

impl Drop for Seated {
    fn drop(&mut self) {
        desk::stand_up();
        // SAFETY: the stack from before is put back first, so that no handler runs on what is
        // unmapped then; it is what `sit` has mapped.
        unsafe {
            libc::sigaltstack(&raw const self.before, ptr::null_mut());
            libc::munmap(self.stack, STACK);
        }
    }
}

/// Begins: installs the handlers, which write to the worker's pages, `area`, from now on. `timeout` is what
/// its handlers have, unless the scoreboard says otherwise; zero: no limit. In the worker, once, when
/// its parent is watched ([`super::watch_parent`]) and before its signals are unblocked.
///
/// # Errors
/// What sigaction(2) answers; `OutOfMemory` when exit(3) takes no more functions.
pub fn install(area: Map, timeout: Duration) -> io::Result<()> {
    if area.words().len() != board::AREA {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    USUAL_US.store(micros(timeout), Relaxed);
    area.words()[last::AT + last::BASE].store(program_base(), Relaxed);
    AREA.store(area.words().as_ptr().cast_mut(), SeqCst);
    // Mapped for as long as the process lives: a handler may run at any time.
    std::mem::forget(area);
    // SAFETY: it cannot fail.
    OWN.store(unsafe { libc::getpid() }, SeqCst);
    // SAFETY: `leaving` is a function without arguments and stays where it is.
    if unsafe { libc::atexit(leaving) } != 0 {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    for signal in FATAL {
        handle(signal, fatal)?;
    }
    handle(libc::SIGUSR2, asked)?;
    if let Some(area) = self::area() {
        area[last::AT + last::LISTENS].store(1, SeqCst);
    }
    Ok(())
}

/// Where the program begins in memory (proc_pid_maps(5): the lowest mapping is its own); 0 where
/// that cannot be read.
fn program_base() -> u64 {
    // Its first number: 16 digits at the most.
    let mut start = [0; 17];
    let read = File::open("/proc/self/maps").and_then(|mut maps| maps.read(&mut start));
    let text = std::str::from_utf8(&start[..read.unwrap_or(0)]).unwrap_or_default();
    let base = text.split('-').next().unwrap_or_default();
    u64::from_str_radix(base, 16).unwrap_or_default()
}

type Action = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

fn handle(signal: i32, action: Action) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction; the handlers given make async-signal-safe calls only.
    let result = unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = action as *const () as libc::sighandler_t;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigfillset(&raw mut new.sa_mask);
        libc::sigaction(signal, &raw const new, ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// SIGSEGV and its like, on the thread that it is about.
extern "C" fn fatal(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let me = thread();
    if !is_own() {
        return die(signal);
    }
    match DYING.compare_exchange(0, me, SeqCst, SeqCst) {
        Ok(_) => {}
        // Its own breath has failed, or an abort(3) follows an exit(3).
        Err(other) if other == me => return die(signal),
        Err(_) => {
            answer(desk::own(), BAD_GATEWAY);
            loop {
                // SAFETY: it waits for a signal and touches nothing.
                unsafe { libc::pause() };
            }
        }
    }
    guard();
    // SAFETY: the kernel gives both to a handler that was installed with SA_SIGINFO.
    let (code, address, sender) =
        unsafe { ((*info).si_code, (*info).si_addr() as u64, (*info).si_pid()) };
    let (pc, stack) = registers(context);
    // Whoever outgrows the stack touches what is just below it.
    let overflow = matches!(signal, libc::SIGSEGV | libc::SIGBUS)
        && code > 0
        && stack.wrapping_add(4096).wrapping_sub(address) < 1 << 20;
    if let Some(record) = record(last::LAST) {
        // For what a process sends, the address is the number of that process.
        let (address, sender) = if code > 0 {
            (address, 0)
        } else {
            (0, sender as u64)
        };
        note(record, signal as u64, code, address, sender, overflow);
        record[last::FRAMES_AT].store(pc, Relaxed);
        record[last::COUNT].store(1, Relaxed);
        last_answers(me);
        trace(record, pc);
    }
    die(signal);
}

/// SIGUSR2: the parent has died, the master asks where a handler is, or another thread of this process has
/// something to say: that it dies, or what the master has asked.
extern "C" fn asked(_: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    if !is_own() {
        return;
    }
    // SAFETY: errno is this thread's, and put back for the code that was interrupted.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel gives it to a handler that was installed with SA_SIGINFO; the calls cannot
    // fail and are async-signal-safe.
    let (code, sender, parent, own) = unsafe {
        let (code, sender) = ((*info).si_code, (*info).si_pid());
        (code, sender, libc::getppid(), libc::getpid())
    };
    let master = MASTER.load(Relaxed);
    if parent != master {
        // SAFETY: alarm is async-signal-safe.
        unsafe { libc::alarm(ORPHAN_SECONDS) };
    } else if code == libc::SI_TKILL && sender == own {
        obey(context);
    } else if sender == master && matches!(code, libc::SI_USER | libc::SI_QUEUE) {
        // By kill(2) it says that the process will be ended, by sigqueue(3) that it goes on.
        question(code == libc::SI_USER, context);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Another thread of this process has something to say.
fn obey(context: *mut c_void) {
    let desk = desk::own();
    let told = desk.map_or(Told::Nothing, Desk::hear);
    let dies = DYING.load(SeqCst) != 0;
    if told == Told::Speak && !dies {
        trace_asked(context);
    }
    let late = told != Told::Nothing && !dies;
    answer(desk, if late { GATEWAY_TIMEOUT } else { BAD_GATEWAY });
}

/// The master asks where the handlers are whose time is over. If the process `ends`, all clients are answered.
fn question(ends: bool, context: *mut c_void) {
    let (Some(area), Some(record)) = (area(), record(last::ASKED)) else {
        return;
    };
    record[last::STATE].store(last::EMPTY, SeqCst);
    let now_us = micros(super::monotonic());
    desk::tell_late(area, USUAL_US.load(Relaxed), now_us);
    let (me, own) = (thread(), desk::own());
    let mut spoken = false;
    for desk in desk::all() {
        let (thread, told) = (desk.thread.load(SeqCst), desk.is_told());
        spoken |= told;
        if thread != me && (told || ends && desk.client.load(SeqCst) != 0) {
            signal_thread(thread, libc::SIGUSR2);
        }
    }
    if own.is_some_and(Desk::is_told) {
        return obey(context);
    }
    if ends {
        // Where nobody has a handler that is late, this one says where it is.
        if !spoken {
            trace_asked(context);
        }
        answer(own, BAD_GATEWAY);
    }
}

/// exit(3), by code of the application: this process ends itself by _exit(2).
extern "C" fn leaving() {
    let me = thread();
    if !is_own() || DYING.compare_exchange(0, me, SeqCst, SeqCst).is_err() {
        return;
    }
    if let Some(record) = record(last::LAST) {
        note(record, EXIT, 0, 0, 0, false);
        last_answers(me);
        trace(record, 0);
    }
}

fn trace_asked(context: *mut c_void) {
    let Some(record) = record(last::ASKED) else {
        return;
    };
    let pc = registers(context).0;
    note(record, libc::SIGUSR2 as u64, 0, 0, 0, false);
    trace(record, pc);
}

/// This thread's client gets its answer, then those of the others.
fn last_answers(me: i32) {
    answer(desk::own(), BAD_GATEWAY);
    let waits = |desk: &Desk| desk.client.load(SeqCst) != 0;
    for desk in desk::all().filter(|desk| waits(desk)) {
        let thread = desk.thread.load(SeqCst);
        if thread != me {
            signal_thread(thread, libc::SIGUSR2);
        }
    }
    for _ in 0..OTHERS_MS {
        if !desk::all().any(waits) {
            return;
        }
        // SAFETY: no descriptor is looked at; it only waits for a millisecond.
        unsafe { libc::poll(ptr::null_mut(), 0, 1) };
    }
}

/// Answers the client of a desk in place of a handler, says that nothing follows, and reads what it
/// has sent: a socket that is closed with bytes unread resets the client before it sees the answer.
fn answer(desk: Option<&Desk>, (head, content): (&str, &str)) {
    let client = desk.map_or(0, |desk| desk.client.swap(0, SeqCst));
    let fd = (client as u32).wrapping_sub(1) as i32;
    if client == 0 {
        return;
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let content = if client & desk::HEAD == 0 {
        content
    } else {
        ""
    };
    let piece = |text: &str| libc::iovec {
        iov_base: text.as_ptr().cast_mut().cast(),
        iov_len: text.len(),
    };
    let mut pieces = [piece(head), piece(content)];
    // SAFETY: all-zero is a valid msghdr; the pieces are static text that the kernel only reads. The
    // socket is open, as its owner covers it before it closes it; if it were not, nothing happens.
    // The sink has the length that is given, is made of atomics, and nobody reads it.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = pieces.as_mut_ptr();
        message.msg_iovlen = 2;
        libc::sendmsg(fd, &raw const message, flags);
        libc::shutdown(fd, libc::SHUT_WR);
        let (sink, len) = (SINK.as_ptr().cast_mut().cast(), size_of_val(&SINK));
        let mut waited = false;
        for _ in 0..64 {
            let n = libc::recv(fd, sink, len, libc::MSG_DONTWAIT);
            if n == 0 || n < 0 && (waited || *libc::__errno_location() != libc::EAGAIN) {
                return;
            }
            if n < 0 {
                waited = true;
                let mut fds = libc::pollfd {
                    fd,
                    events: libc::POLLIN,
                    revents: 0,
                };
                libc::poll(&raw mut fds, 1, LINGER_MS);
            }
        }
    }
}

fn note(record: &[AtomicU64], signal: u64, code: i32, address: u64, sender: u64, overflow: bool) {
    let mut name = [0u8; 16];
    // SAFETY: PR_GET_NAME (prctl(2)) writes 16 bytes at most.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let [a, b, c, d, e, f, g, h, rest @ ..] = name;
    for (at, value) in [
        (last::SIGNAL, signal),
        (last::CODE, code as u32 as u64),
        (last::ADDRESS, address),
        (last::SENDER, sender),
        (last::OVERFLOW, overflow.into()),
        (last::NAME, u64::from_le_bytes([a, b, c, d, e, f, g, h])),
        (last::NAME + 1, u64::from_le_bytes(rest)),
        (last::THREAD, thread() as u64),
    ] {
        record[at].store(value, Relaxed);
    }
    record[last::STATE].store(last::WRITTEN, SeqCst);
}

/// What the unwinder is asked for: from where on, and where it goes.
struct Trace<'a> {
    record: &'a [AtomicU64],
    /// The frame that was interrupted; 0: all.
    from: u64,
    count: usize,
}

/// Notes where this thread is: the addresses of the calls that led there, the innermost first.
fn trace(record: &[AtomicU64], from: u64) {
    let mut trace = Trace {
        record,
        from,
        count: 0,
    };
    // SAFETY: `each` does not unwind and has the argument that it expects. The unwinder reads this
    // thread's stack and the program's tables, takes no lock that is not this thread's (with a C
    // library older than 2.35 it may; then the alarm ends the process), and allocates nothing.
    unsafe { _Unwind_Backtrace(each, (&raw mut trace).cast()) };
}

extern "C" fn each(frame: *mut c_void, trace: *mut c_void) -> i32 {
    // SAFETY: the unwinder gives the frame and what `trace` gave it, which outlives the call.
    let (trace, pc, exact) = unsafe {
        let mut exact = 0;
        let pc = _Unwind_GetIPInfo(frame, &raw mut exact) as u64;
        (&mut *trace.cast::<Trace<'_>>(), pc, exact != 0)
    };
    if trace.count == 0 && trace.from != 0 && pc != trace.from {
        return 0;
    }
    // What is found on the stack is where a call returns to, which may be another line.
    let call = pc.wrapping_sub(u64::from(!exact));
    let Some(word) = trace.record[last::FRAMES_AT..].get(trace.count) else {
        return 5; // _URC_END_OF_STACK
    };
    word.store(call, Relaxed);
    trace.count += 1;
    trace.record[last::COUNT].store(trace.count as u64, SeqCst);
    0
}

unsafe extern "C" {
    // The Level I unwinder of the C++ ABI, which the standard library links.
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut c_void, *mut c_void) -> i32,
        argument: *mut c_void,
    ) -> i32;
    fn _Unwind_GetIPInfo(frame: *mut c_void, exact: *mut i32) -> usize;
}

/// Program counter and stack pointer of what was interrupted.
fn registers(context: *mut c_void) -> (u64, u64) {
    // SAFETY: the kernel gives a ucontext to a handler that was installed with SA_SIGINFO.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    #[cfg(target_arch = "x86_64")]
    {
        let registers = &context.uc_mcontext.gregs;
        let [pc, stack] = [libc::REG_RIP, libc::REG_RSP].map(|n| registers[n as usize] as u64);
        (pc, stack)
    }
    #[cfg(target_arch = "aarch64")]
    {
        (context.uc_mcontext.pc, context.uc_mcontext.sp)
    }
}

fn area() -> Option<&'static [AtomicU64]> {
    let start = AREA.load(SeqCst);
    // SAFETY: `install` has stored the start of so many words, which stay mapped.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, board::AREA) })
}

fn record(at: usize) -> Option<&'static [AtomicU64]> {
    area()?[last::AT..].get(at..at + RECORD)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The number of this thread (gettid(2)).
#[must_use]
pub fn thread() -> i32 {
    // SAFETY: gettid(2) cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Whether this is the worker, and not what its application has forked.
fn is_own() -> bool {
    // SAFETY: it cannot fail.
    OWN.load(SeqCst) == unsafe { libc::getpid() }
}

fn signal_thread(thread: i32, signal: i32) {
    // SAFETY: integers; the process is this one (tgkill(2)).
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
}

/// Sees to it that whatever hangs from here on does not hang for long.
fn guard() {
    // SAFETY: SIG_DFL runs no code; the set is written before it is read.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        let mut alarm: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut alarm);
        libc::sigaddset(&raw mut alarm, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const alarm, ptr::null_mut());
        libc::alarm(GUARD_SECONDS);
    }
}

/// Ends the process by `signal` as if it had no handler, when this one returns: the signal is
/// blocked until then, and comes before the next instruction.
fn die(signal: i32) {
    // SAFETY: SIG_DFL runs no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    signal_thread(thread(), signal);
}
