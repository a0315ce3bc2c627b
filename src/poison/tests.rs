//! What the ledger of deaths holds against whom.

use std::collections::BTreeSet;

use super::*;

const WINDOW: Duration = Duration::from_secs(60);
const HOLD: Duration = Duration::from_secs(600);
const THREE: Policy = Policy {
    deaths: 3,
    window: WINDOW,
    hold: HOLD,
};

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

/// In a handler, or (negative) on a stream thread.
fn suspects(numbers: &[i64]) -> Vec<Suspect> {
    let one = |number: &i64| Suspect {
        fingerprint: number.unsigned_abs(),
        request: format!("GET /{}", number.unsigned_abs()),
        streaming: *number < 0,
    };
    numbers.iter().map(one).collect()
}

/// What each of these deaths, at a second and with requests in flight, puts into quarantine.
fn history(policy: Policy, deaths: &[(u64, &[i64])]) -> Vec<Vec<u64>> {
    let mut ledger = Ledger::default();
    let mut died = |(second, numbers): &(u64, &[i64])| {
        let (held, _) = ledger.died(policy, &suspects(numbers), at(*second));
        held.iter().map(|held| held.fingerprint).collect()
    };
    deaths.iter().map(&mut died).collect()
}

#[test]
fn only_what_repeats_is_poison() {
    let none = Vec::new;
    for (deaths, last) in [
        (&[(0, &[7][..]), (1, &[7]), (2, &[7])][..], vec![7]),
        (&[(0, &[7]), (1, &[7])], none()),
        // Each time another, beside the one.
        (&[(0, &[1, 7]), (1, &[7, 2]), (2, &[7, 3])], vec![7]),
        // Said three times by one worker.
        (&[(0, &[7, 7, 7])], none()),
        // Within the window, and not.
        (&[(0, &[7]), (30, &[7]), (60, &[7])], vec![7]),
        (&[(0, &[7]), (30, &[7]), (61, &[7])], none()),
        // A stream is always there, but something in a handler explains it.
        (&[(0, &[-9, 7]), (1, &[7, -9]), (2, &[-9, 7])], vec![7]),
        (&[(0, &[-9, 1]), (1, &[-9, 2]), (2, &[-9, 3])], vec![9]),
        // On a stream thread at one time, in a handler at another.
        (&[(0, &[-7]), (1, &[7]), (2, &[-7])], vec![7]),
        (&[(0, &[-9, 7]), (1, &[-9, 7]), (2, &[-9, 7, -7])], vec![7]),
        // Two that are not always together.
        (
            &[
                (0, &[8]),
                (1, &[8]),
                (2, &[6]),
                (3, &[6, 7]),
                (4, &[8, 6, 7]),
            ],
            vec![6, 8],
        ),
        // Nobody can tell these two apart.
        (&[(0, &[7, 8]), (1, &[7, 8]), (2, &[7, 8])], vec![7, 8]),
        (&[(0, &[]), (1, &[]), (2, &[])], none()),
    ] {
        let found = history(THREE, deaths);
        let (end, before) = found.split_last().unwrap();
        assert_eq!(end, &last, "{deaths:?}");
        assert!(before.iter().all(Vec::is_empty), "{deaths:?}");
    }
}

/// Deaths that one request explains are not held against what was beside it, nor are those that
/// come late, of workers that had it in flight when it was put into quarantine.
#[test]
fn what_was_beside_poison_is_cleared_of_it() {
    let found = history(
        THREE,
        &[
            (0, &[7, 1]),
            (1, &[7, 1]),
            (2, &[7]),
            (3, &[7, 1]),
            (4, &[1]),
            (5, &[1]),
            (6, &[1]),
        ],
    );
    let expected: [&[u64]; 7] = [&[], &[], &[7], &[], &[], &[], &[1]];
    assert_eq!(found, expected);
}

#[test]
fn one_death_may_be_enough_and_none_is_never() {
    assert_eq!(history(Policy { deaths: 1, ..THREE }, &[(0, &[7])]), [[7]]);
    let off = Policy::default();
    let found = history(off, &[(0, &[7]), (0, &[7]), (0, &[7])]);
    assert!(found.iter().all(Vec::is_empty));
}

#[test]
fn a_quarantine_ends_and_begins_anew_by_as_many_deaths() {
    let mut ledger = Ledger::default();
    let die = |ledger: &mut Ledger, policy: Policy, second: u64| {
        let (held, _) = ledger.died(policy, &suspects(&[7]), at(second));
        held.len()
    };
    assert_eq!([0, 1, 2].map(|n| die(&mut ledger, THREE, n)), [0, 0, 1]);
    assert_eq!(ledger.deadline(), Some(at(602)));
    assert!(ledger.expire(at(601)).is_empty());
    assert_eq!(ledger.expire(at(602)).len(), 1);
    assert_eq!((ledger.deadline(), ledger.held().len()), (None, 0));
    let forever = Policy {
        hold: Duration::ZERO,
        ..THREE
    };
    let again = [603, 604, 605].map(|n| die(&mut ledger, forever, n));
    assert_eq!(again, [0, 0, 1]);
    assert_eq!(ledger.deadline(), None);
    assert!(ledger.expire(at(1_000_000)).is_empty());
    assert!(ledger.clear(Some(8)).is_empty());
    assert_eq!(ledger.clear(Some(7)).len(), 1);
    assert_eq!([606, 607].map(|n| die(&mut ledger, forever, n)), [0, 0]);
}

#[test]
fn a_full_table_lets_the_oldest_go() {
    let mut ledger = Ledger::default();
    let policy = Policy { deaths: 1, ..THREE };
    for n in 1..=POISONS as i64 {
        let (_, released) = ledger.died(policy, &suspects(&[n]), at(n as u64));
        assert!(released.is_empty());
    }
    let (held, released) = ledger.died(policy, &suspects(&[1000]), at(500));
    assert_eq!((held[0].fingerprint, released[0].fingerprint), (1000, 1));
    assert_eq!(ledger.held().len(), POISONS);
    // A worker that writes nonsense can say no more than this.
    let many: Vec<i64> = (2000..3000).collect();
    let (held, _) = ledger.died(policy, &suspects(&many), at(501));
    assert_eq!((held.len(), ledger.held().len()), (POISONS, POISONS));
}

/// Against a history that forgets nothing: who is held was in enough deaths within the window
/// that nothing else had explained, who was in the handler in so many alone is held, and all of
/// it stays bounded and survives being written down.
#[test]
fn random_histories_agree_with_one_that_forgets_nothing() {
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) % below
    };
    for round in 0..200 {
        let policy = Policy {
            deaths: 1 + random(4) as usize,
            window: at(1 + random(40)),
            hold: at(random(60)),
        };
        let mut ledger = Ledger::default();
        // Every death and whether it is explained; until when who is held.
        let mut deaths: Vec<(Moment, BTreeSet<u64>, bool)> = Vec::new();
        let mut held: Vec<(u64, Option<Moment>)> = Vec::new();
        let mut second = 0;
        for _ in 0..300 {
            second += random(4);
            let now = at(second);
            let gone = ledger.expire(now);
            let due = |until: Option<Moment>| until.is_some_and(|until| until <= now);
            assert!(gone.iter().all(|one| due(one.until)));
            held.retain(|(_, until)| !due(*until));
            if random(20) == 0 {
                let which = 1 + random(6);
                let cleared = !ledger.clear(Some(which)).is_empty();
                assert_eq!(cleared, held.iter().any(|(one, _)| *one == which));
                held.retain(|(one, _)| *one != which);
            }
            let flying: Vec<i64> = (0..random(4))
                .map(|_| (1 + random(6)) as i64 * if random(3) == 0 { -1 } else { 1 })
                .collect();
            let prints: BTreeSet<u64> = flying.iter().map(|one| one.unsigned_abs()).collect();
            let (found, released) = ledger.died(policy, &suspects(&flying), now);
            assert!(released.is_empty());
            if prints.is_empty() || held.iter().any(|(one, _)| prints.contains(one)) {
                assert!(found.is_empty());
                continue;
            }
            deaths.push((now, prints.clone(), false));
            let since = now.saturating_sub(policy.window);
            let count = |one: u64| {
                let open = deaths.iter().filter(|(at, _, over)| *at >= since && !over);
                open.filter(|(_, prints, _)| prints.contains(&one)).count()
            };
            let enough = |one: &&u64| count(**one) >= policy.deaths;
            let enough: BTreeSet<u64> = prints.iter().filter(enough).copied().collect();
            let guilty: BTreeSet<u64> = found.iter().map(|held| held.fingerprint).collect();
            assert_eq!(guilty.is_empty(), enough.is_empty(), "round {round}");
            assert!(guilty.is_subset(&enough), "round {round}");
            let handled = |one: &u64| flying.contains(&(*one as i64));
            let expected = enough.iter().any(handled);
            assert!(guilty.iter().all(|one| handled(one) == expected));
            if prints.len() == 1 && enough.len() == 1 {
                assert_eq!(guilty, prints);
            }
            for (_, prints, over) in &mut deaths {
                *over |= !prints.is_disjoint(&guilty);
            }
            let until = (!policy.hold.is_zero()).then(|| now + policy.hold);
            held.extend(guilty.iter().map(|one| (*one, until)));
            // Another image goes on where this one was.
            let text = serde_json::to_string(&ledger).unwrap();
            ledger = serde_json::from_str(&text).unwrap();
            let names = |held: &[Held]| -> BTreeSet<u64> {
                held.iter().map(|held| held.fingerprint).collect()
            };
            let expected: BTreeSet<u64> = held.iter().map(|(one, _)| *one).collect();
            assert_eq!(names(ledger.held()), expected, "round {round}");
            assert!(ledger.deaths.len() <= DEATHS && ledger.held().len() <= POISONS);
        }
    }
}
