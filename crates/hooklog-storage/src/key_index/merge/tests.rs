use super::*;

fn run(level: u8, entries: u64) -> RunSize {
    RunSize { level, entries }
}

#[test]
fn eight_neighbours_of_the_lowest_level_are_merged() {
    let levels = |levels: &[u8]| {
        levels
            .iter()
            .map(|level| run(*level, 10))
            .collect::<Vec<_>>()
    };
    let plan = |runs: &[RunSize]| plan(runs, 1000);
    assert_eq!(plan(&[]), None);
    assert_eq!(plan(&levels(&[0; 7])), None);
    assert_eq!(plan(&levels(&[0; 8])), Some(0..8));
    assert_eq!(plan(&levels(&[0; 20])), Some(0..8));
    assert_eq!(plan(&levels(&[1, 1, 0, 0, 0, 0, 0, 0, 0])), None);
    let both = [[1; 8], [0; 8]].concat();
    assert_eq!(plan(&levels(&both)), Some(8..16));
    let apart = [&[0; 7][..], &[1], &[0; 7]].concat();
    assert_eq!(plan(&levels(&apart)), None);
}

#[test]
fn no_run_gets_too_large() {
    // Above half of the limit a run is left alone; of smaller ones as many as fit are taken.
    assert_eq!(plan(&[run(0, 51); 20], 100), None);
    assert_eq!(plan(&[run(0, 50); 20], 100), Some(0..2));
    assert_eq!(plan(&[run(0, 33); 20], 100), Some(0..3));
    let large = [&[run(0, 60); 3][..], &[run(0, 10); 8]].concat();
    assert_eq!(plan(&large, 100), Some(3..11));
    // Too many runs: the cheapest neighbours, if they fit.
    let crowded: Vec<_> = (0..41)
        .map(|n| run(n % 7, 40 + u64::from((n + 3) % 5)))
        .collect();
    assert_eq!(plan(&crowded, 100), Some(2..4));
    assert_eq!(plan(&crowded[..40], 100), None);
    assert_eq!(plan(&[run(0, 51); 200], 100), None);
}

#[test]
fn runs_stay_few_and_are_written_a_few_times() {
    const ENTRIES_MAX: u64 = 50_000_000;
    for (seed, sizes) in [
        (1, 57_344..57_345),
        (2, 1..57_344),
        (3, 1..2000),
        (4, 1..200_000),
    ] {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut runs: Vec<RunSize> = Vec::new();
        let (mut sealed, mut written, mut most) = (0, 0, 0);
        for _ in 0..5000 {
            let entries = rng.u64(sizes.clone());
            runs.push(run(0, entries));
            sealed += entries;
            while let Some(window) = plan(&runs, ENTRIES_MAX / 8) {
                assert!(window.len() >= 2);
                let inputs = &runs[window.clone()];
                let entries = inputs.iter().map(|run| run.entries).sum();
                assert!(entries <= ENTRIES_MAX / 8);
                let level = inputs.iter().map(|run| run.level).max().unwrap() + 1;
                runs.splice(window, [run(level, entries)]);
                written += entries;
            }
            most = most.max(runs.len());
            while runs.iter().map(|run| run.entries).sum::<u64>() > ENTRIES_MAX {
                runs.remove(0);
            }
        }
        assert!(most <= RUNS_TARGET, "seed {seed}: {most} runs");
        assert!(written <= 5 * sealed, "seed {seed}: {written} of {sealed}");
    }
}
