//! The protocols between a web server and an application, without I/O. Each is written once and used
//! from both sides: by our applications that speak to a back end, and by our listeners that a web
//! server speaks to. Never a socket, a file, a clock or a log.

pub mod cgi_head;
pub mod fastcgi;
pub mod http_answer;
mod lines;
pub mod scgi;
pub mod uwsgi;
pub mod vars;

pub use lines::{BadAnswer, HeadLimits, strip_hop_by_hop};
