//! What the master itself has logged, for the scoreboard, where workers say the same of themselves.

use ferricorn_base::logs;

use super::Master;

impl Master {
    /// Adds what is new. It costs next to nothing when nothing is.
    pub(super) fn count_log(&mut self) {
        let all = logs::counted();
        let news = all.since(std::mem::replace(&mut self.logged, all));
        if let Some(board) = self.board.as_ref().filter(|_| news != Default::default()) {
            board.count(&news.by_counter());
        }
    }
}
