//! The log level at run time: `ctl log-level`.
//!
//! What the operator has set holds over reloads, for new workers as well, until the setting itself is
//! changed, a restart, or `ctl log-level default`. Nothing here waits.

use ferricorn_base::lifeline::Down;
use ferricorn_base::logs;
use log::LevelFilter;
use serde::{Deserialize, Serialize};

use super::{Master, mold};
use crate::control::words::Answer;
use crate::generation::Generation;
use crate::logging::{level, level_name};

/// The word that takes back what the operator has set.
const DEFAULT: &str = "default";

/// A level that the operator has set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    level: String,
    /// The setting over which it was set. Another one is the operator's last word.
    over: String,
}

impl Override {
    /// What holds where the setting says `setting`; none when the setting does.
    pub fn over(&self, setting: LevelFilter) -> Option<LevelFilter> {
        let holds = self.over == level_name(setting);
        level(&self.level).filter(|_| holds)
    }
}

impl Master {
    /// Sets the level of all processes, if there is one to set, and says what it is.
    pub(super) fn log_level(&mut self, name: Option<&str>) -> Result<Answer, String> {
        let setting = self.generations.get(&self.serving).map(|g| g.log_level);
        let setting = setting.unwrap_or(LevelFilter::Info);
        match name {
            None => {}
            Some(DEFAULT) => {
                self.level = None;
                self.tell_level(setting);
            }
            Some(name) => {
                let wanted = level(name).ok_or_else(|| format!("\"{name}\" is no log level"))?;
                self.level = Some(Override {
                    level: level_name(wanted).to_owned(),
                    over: level_name(setting).to_owned(),
                });
                self.tell_level(wanted);
            }
        }
        Ok(Answer {
            log_level: Some(level_name(log::max_level()).to_owned()),
            ..Answer::done()
        })
    }

    /// The level at which a generation logs.
    pub(super) fn level_of(&self, generation: &Generation) -> LevelFilter {
        let set = self.level.as_ref();
        set.and_then(|set| set.over(generation.log_level))
            .unwrap_or(generation.log_level)
    }

    /// This process first: whoever is forked from now on has it from here.
    fn tell_level(&mut self, level: LevelFilter) {
        logs::set_level(level);
        for generation in self.generations.values_mut() {
            if let Some(recipe) = &mut generation.recipe {
                recipe.log_level = level;
            }
        }
        let news = Down::Level(level);
        self.children
            .values()
            .for_each(|child| child.tell(news, &[]));
        mold::tell(self.mold.as_ref(), news, &[]);
        self.aides.tell(news, &[]);
        log::info!("Log level: {}", level_name(level));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_until_the_setting_is_another() {
        let set = Override {
            level: "debug".to_owned(),
            over: "info".to_owned(),
        };
        assert_eq!(set.over(LevelFilter::Info), Some(LevelFilter::Debug));
        assert_eq!(set.over(LevelFilter::Error), None);
    }
}
