//! Starts other programs without copying this process: the child borrows its memory and stands still for it
//! until it has executed something (clone(2) with CLONE_VM and CLONE_VFORK, as posix_spawn(3) of glibc
//! does). It may call libc. Everything that the child needs is made before; between clone(2) and
//! execve(2) there are async-signal-safe calls only, no allocation and no lock.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Bytes of the child's stack: its own calls, and what the dynamic linker takes when it first looks one
/// up. Nothing on it grows with what is executed.
const STACK: usize = 64 * 1024;

/// A program that is to be started, in a process group of its own.
#[derive(Debug)]
pub struct Start {
    /// The file to execute.
    pub path: CString,
    /// Its arguments, the name of the program first.
    pub arguments: Vec<CString>,
    /// `NAME=VALUE` each; nothing else is inherited.
    pub environment: Vec<CString>,
    /// Where it runs.
    pub directory: OwnedFd,
    /// Its standard input, output and error: all the descriptors that it has.
    pub streams: [OwnedFd; 3],
    /// What it may take of the system, both the soft and the hard limit (setrlimit(2)).
    pub limits: Vec<(Resource, u64)>,
}

/// What a program may be limited in (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Seconds of processor time, of each process.
    CpuSeconds,
    /// Bytes of address space, of each process.
    Memory,
    /// Open descriptors, of each process.
    OpenFiles,
    /// Processes of the user.
    Processes,
}

/// A program that runs. Whoever has it waits for it (waitid(2)).
#[derive(Debug)]
pub struct Child {
    /// The number of its process, and of its group. It is nobody else's until it was waited for.
    pub pid: i32,
    /// Becomes readable when it has ended (pidfd_open(2)).
    pub fd: OwnedFd,
}

/// Why a program was not started: the call, and what it answers.
#[derive(Debug)]
pub struct Failed {
    /// The call that failed.
    pub call: &'static str,
    /// What it answers.
    pub error: io::Error,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.call, self.error)
    }
}

impl std::error::Error for Failed {}

/// What the child needs, in the memory that it borrows.
struct Plan {
    path: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    directory: RawFd,
    streams: [RawFd; 3],
    limits: *const (c_int, libc::rlimit),
    limits_len: usize,
    parent: libc::pid_t,
    failed: Option<(&'static str, c_int)>,
}

impl Start {
    /// Starts it. Returns when it is executed, until when this thread stands still. It dies when this
    /// thread does, where it does not become another user's by what it executes (PR_SET_PDEATHSIG); those
    /// that it starts do not.
    ///
    /// It begins with all signals at their defaults and none blocked, and can gain no privileges
    /// (PR_SET_NO_NEW_PRIVS).
    ///
    /// # Errors
    /// [`Failed`]; then there is no process. Linux 5.9 or newer is needed.
    pub fn spawn(mut self) -> Result<Child, Failed> {
        self.out_of_the_way()?;
        let arguments = pointers(&self.arguments);
        let environment = pointers(&self.environment);
        let limits: Vec<_> = self.limits.iter().map(Resource::to_system).collect();
        let mut plan = Plan {
            path: self.path.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            directory: self.directory.as_raw_fd(),
            streams: [0, 1, 2].map(|n: usize| self.streams[n].as_raw_fd()),
            limits: limits.as_ptr(),
            limits_len: limits.len(),
            // SAFETY: getpid cannot fail.
            parent: unsafe { libc::getpid() },
            failed: None,
        };
        // In units of 16 bytes, to which a stack is aligned.
        let mut stack = vec![0_u128; STACK / size_of::<u128>()];
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the child runs `child` on a stack that is its own and large enough, with a plan whose
        // pointers outlive it: CLONE_VFORK lets this thread go on only when the child has executed or
        // ended. With all signals blocked no handler of ours runs in the child. The mask is put back.
        let (pid, error) = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            let pid = libc::clone(
                child,
                stack.as_mut_ptr().add(stack.len()).cast(),
                flags,
                (&raw mut plan).cast(),
                &raw mut pidfd,
            );
            let error = io::Error::last_os_error();
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
            (pid, error)
        };
        if pid < 0 {
            return Err(Failed {
                call: "clone",
                error,
            });
        }
        // SAFETY: the kernel has just made it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        // SAFETY: of the child nothing is left but perhaps a program with memory of its own.
        let failed = unsafe { ptr::read_volatile(&raw const plan.failed) };
        if let Some((call, errno)) = failed {
            // SAFETY: it is a child of ours that has ended, and nobody else waits for it.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            let error = io::Error::from_raw_os_error(errno);
            return Err(Failed { call, error });
        }
        Ok(Child { pid, fd })
    }

    /// Has no stream where another one is put: numbers below 3 are given away only when a process
    /// has closed its own standard streams.
    fn out_of_the_way(&mut self) -> Result<(), Failed> {
        let [input, output, errors] = &mut self.streams;
        for fd in [input, output, errors, &mut self.directory] {
            if fd.as_raw_fd() > 2 {
                continue;
            }
            // SAFETY: duplicates a descriptor that is open; the new one is owned at once.
            *fd = unsafe {
                let other = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3);
                if other < 0 {
                    return Err(Failed {
                        call: "fcntl",
                        error: io::Error::last_os_error(),
                    });
                }
                OwnedFd::from_raw_fd(other)
            };
        }
        Ok(())
    }
}

impl Resource {
    fn to_system(&(resource, limit): &(Resource, u64)) -> (c_int, libc::rlimit) {
        let resource = match resource {
            Resource::CpuSeconds => libc::RLIMIT_CPU,
            Resource::Memory => libc::RLIMIT_AS,
            Resource::OpenFiles => libc::RLIMIT_NOFILE,
            Resource::Processes => libc::RLIMIT_NPROC,
        };
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // Unsigned with glibc, signed with musl.
        (resource as c_int, limit)
    }
}

/// As C has a list of texts.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    let texts = texts.iter().map(|text| text.as_ptr());
    texts.chain([ptr::null()]).collect()
}

/// The child: comes back only if something fails, which ends it.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: it is the plan of `spawn`, whose thread stands still.
    unsafe {
        let plan = plan.cast::<Plan>();
        (*plan).failed = Some(run(&*plan));
    }
    127
}

/// Makes a process of the plan: the call that failed, and errno.
///
/// # Safety
/// To be called in a child that has a stack, descriptors and signal handlers of its own, with a plan whose pointers are valid.
unsafe fn run(plan: &Plan) -> (&'static str, c_int) {
    // SAFETY: plain system calls, all of them async-signal-safe, on descriptors and pointers of the plan.
    unsafe {
        let failed = |call| (call, *libc::__errno_location());
        if libc::setpgid(0, 0) < 0 {
            return failed("setpgid");
        }
        // What is ignored stays so over execve(2); and no handler may run when signals come again.
        // By the system call itself: sigaction(2) of the library knows two signals for itself only.
        let default = [0_u64; 4];
        for signal in 1..=64 {
            // Refused for those that have no other disposition.
            let null = ptr::null_mut::<c_void>();
            libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, null, 8);
        }
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 {
            return failed("prctl");
        }
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
            return failed("prctl");
        }
        // It may have died before.
        if libc::getppid() != plan.parent {
            return ("getppid", libc::ESRCH);
        }
        for (to, from) in plan.streams.iter().enumerate() {
            if libc::dup2(*from, to as c_int) < 0 {
                return failed("dup2");
            }
        }
        if libc::fchdir(plan.directory) < 0 {
            return failed("fchdir");
        }
        // All of ours are closed when something is executed anyway; not so those that the application
        // may have opened without saying so. From 5.9 on there is the call, from 5.11 on the flag.
        if libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        ) < 0
            && libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) < 0
        {
            return failed("close_range");
        }
        for index in 0..plan.limits_len {
            let (resource, limit) = &*plan.limits.add(index);
            if libc::setrlimit(*resource as _, &raw const *limit) < 0 {
                return failed("setrlimit");
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(plan.path, plan.arguments, plan.environment);
        failed("execve")
    }
}
