//! What the model of the disk promises, and what it does not.

use super::content::{PAGE, SECTOR};
use super::*;

/// What a file holds after cuts with many seeds.
fn outcomes(disk: &Disk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let cuts = (0..300).map(|seed| disk.cut(seed));
    let found = cuts.map(|after| {
        let file = after.find(ROOT, name).ok()?;
        Some(after.read(file, 0, usize::MAX).unwrap())
    });
    found.collect()
}

/// A disk with one synced file, whose name is synced too.
fn with_file(name: &str, content: &[u8]) -> (Disk, u64) {
    let mut disk = Disk::new(Syncs::Kept);
    let file = disk.create_file(ROOT, name).unwrap();
    disk.write(file, 0, content).unwrap();
    disk.sync(file).unwrap();
    disk.sync(ROOT).unwrap();
    (disk, file)
}

fn only(content: &[u8]) -> BTreeSet<Option<Vec<u8>>> {
    BTreeSet::from([Some(content.to_vec())])
}

#[test]
fn what_is_synced_survives_every_cut() {
    let (mut disk, file) = with_file("a", b"old");
    assert_eq!(outcomes(&disk, "a"), only(b"old"));
    disk.write(file, 1, b"NEWER").unwrap();
    disk.sync(file).unwrap();
    assert_eq!(outcomes(&disk, "a"), only(b"oNEWER"));
    disk.set_length(file, 2).unwrap();
    disk.sync(file).unwrap();
    assert_eq!(outcomes(&disk, "a"), only(b"oN"));
}

#[test]
fn what_is_not_synced_may_be_lost_kept_or_torn() {
    let (mut disk, file) = with_file("a", &[1; 2 * PAGE]);
    disk.write(file, 0, &[2; 2 * PAGE]).unwrap();
    let found = outcomes(&disk, "a");
    let sectors = |content: &[u8]| -> Vec<BTreeSet<u8>> {
        let all = content.chunks(SECTOR);
        all.map(|sector| sector.iter().copied().collect()).collect()
    };
    let pages = |first: u8, second: u8| [vec![first; PAGE], vec![second; PAGE]].concat();
    for whole in [pages(1, 1), pages(2, 2), pages(1, 2), pages(2, 1)] {
        assert!(found.contains(&Some(whole)), "any page may survive alone");
    }
    let found: Vec<_> = found
        .into_iter()
        .flatten()
        .map(|bytes| sectors(&bytes))
        .collect();
    let torn_between = |content: &Vec<BTreeSet<u8>>| {
        let page = &content[..PAGE / SECTOR];
        page.iter().all(|sector| sector.len() == 1) && page.iter().any(|sector| *sector != page[0])
    };
    assert!(found.iter().any(torn_between), "between two sectors");
    let torn_within = |content: &Vec<BTreeSet<u8>>| content.iter().any(|sector| sector.len() == 2);
    assert!(found.iter().any(torn_within), "within a sector");
}

#[test]
fn an_older_version_of_a_page_may_be_the_one_that_survives() {
    let (mut disk, file) = with_file("a", b"1");
    disk.write(file, 0, b"2").unwrap();
    disk.write(file, 0, b"3").unwrap();
    let all = [&b"1"[..], b"2", b"3"].map(|content| Some(content.to_vec()));
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from(all));
}

#[test]
fn a_length_may_survive_without_its_bytes_and_bytes_without_it() {
    let (mut disk, file) = with_file("a", b"");
    disk.write(file, 0, b"x").unwrap();
    let all = [&b""[..], b"\0", b"x"].map(|content| Some(content.to_vec()));
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from(all));

    let (mut disk, file) = with_file("a", b"xyz");
    disk.set_length(file, 1).unwrap();
    let all = [&b"xyz"[..], b"x\0\0", b"x"].map(|content| Some(content.to_vec()));
    let found = outcomes(&disk, "a");
    assert!(
        all.iter().all(|content| found.contains(content)),
        "{found:?}"
    );
    // What was cut off never comes back by growing.
    disk.set_length(file, 3).unwrap();
    assert_eq!(disk.read(file, 0, 9).unwrap(), b"x\0\0");
}

#[test]
fn a_name_is_sure_only_once_its_directory_is_synced() {
    let mut disk = Disk::new(Syncs::Kept);
    let file = disk.create_file(ROOT, "a").unwrap();
    disk.write(file, 0, b"x").unwrap();
    disk.sync(file).unwrap();
    assert_eq!(
        outcomes(&disk, "a"),
        BTreeSet::from([None, Some(b"x".to_vec())])
    );
    disk.sync(ROOT).unwrap();
    assert_eq!(outcomes(&disk, "a"), only(b"x"));

    disk.remove(ROOT, "a").unwrap();
    assert_eq!(
        outcomes(&disk, "a"),
        BTreeSet::from([None, Some(b"x".to_vec())])
    );
    disk.sync(ROOT).unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([None]));
}

#[test]
fn a_rename_happens_as_a_whole_or_not_at_all() {
    let (mut disk, _) = with_file("a", b"old");
    let draft = disk.create_file(ROOT, "draft").unwrap();
    disk.write(draft, 0, b"new").unwrap();
    disk.sync(draft).unwrap();
    disk.sync(ROOT).unwrap();
    disk.rename((ROOT, "draft"), (ROOT, "a")).unwrap();
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([old, new.clone()]));
    assert_eq!(outcomes(&disk, "draft"), BTreeSet::from([None, new]));
    let after = (0..300).map(|seed| disk.cut(seed).list(ROOT).len());
    assert_eq!(after.collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
    disk.sync(ROOT).unwrap();
    assert_eq!(outcomes(&disk, "a"), only(b"new"));
}

#[test]
fn what_lies_in_a_lost_directory_is_lost() {
    let mut disk = Disk::new(Syncs::Kept);
    let directory = disk.create_directory(ROOT, "d").unwrap();
    let file = disk.create_file(directory, "a").unwrap();
    disk.sync(file).unwrap();
    disk.sync(directory).unwrap();
    let found = (0..300).map(|seed| disk.cut(seed).find(ROOT, "d").is_ok());
    assert_eq!(
        found.collect::<BTreeSet<_>>(),
        BTreeSet::from([false, true])
    );
}

#[test]
fn a_seed_cuts_the_same_way_again_and_another_differently() {
    let (mut disk, file) = with_file("a", &vec![1; 64 * PAGE]);
    disk.write(file, 0, &vec![2; 64 * PAGE]).unwrap();
    let content = |seed| disk.cut(seed).read(file, 0, usize::MAX).unwrap();
    let all: BTreeSet<_> = (0..40).map(content).collect();
    assert!(all.len() > 20, "{} different ones of 40", all.len());
    for seed in 0..40 {
        assert_eq!(content(seed), content(seed));
    }
}

#[test]
fn a_disk_that_forgets_syncs_may_lose_everything() {
    for (syncs, forgotten) in [
        (Syncs::Kept, false),
        (Syncs::Forgotten, true),
        (Syncs::ForgottenFor("a"), true),
        (Syncs::ForgottenFor("b"), false),
    ] {
        let mut disk = Disk::new(syncs);
        let file = disk.create_file(ROOT, "a").unwrap();
        disk.write(file, 0, b"x").unwrap();
        disk.sync(file).unwrap();
        disk.sync(ROOT).unwrap();
        assert_eq!(outcomes(&disk, "a") != only(b"x"), forgotten, "{syncs:?}");
    }
}

#[test]
fn it_copies_itself_to_a_real_directory() {
    let (mut disk, _) = with_file("a", b"x");
    let directory = disk.create_directory(ROOT, "d").unwrap();
    let file = disk.create_file(directory, "b").unwrap();
    disk.write(file, 10_000, b"far").unwrap();
    disk.set_length(file, 20_000).unwrap();
    let real = tempfile::tempdir().unwrap();
    disk.write_to(real.path()).unwrap();
    assert_eq!(fs::read(real.path().join("a")).unwrap(), b"x");
    let copied = fs::read(real.path().join("d/b")).unwrap();
    assert_eq!(copied, disk.read(file, 0, usize::MAX).unwrap());
    assert_eq!(
        (copied.len(), &copied[10_000..10_003]),
        (20_000, &b"far"[..])
    );
}

#[test]
fn it_refuses_what_a_file_system_refuses() {
    let (mut disk, file) = with_file("a", b"x");
    let directory = disk.create_directory(ROOT, "d").unwrap();
    disk.create_file(directory, "b").unwrap();
    assert_eq!(disk.create_file(ROOT, "a"), Err(Refusal::Exists));
    assert_eq!(disk.create_file(file, "a"), Err(Refusal::NotADirectory));
    assert_eq!(disk.find(ROOT, "none"), Err(Refusal::NotFound));
    assert_eq!(disk.remove(ROOT, "d"), Err(Refusal::NotEmpty));
    assert_eq!(disk.read(directory, 0, 1), Err(Refusal::IsADirectory));
    assert_eq!(
        disk.rename((ROOT, "none"), (ROOT, "a")),
        Err(Refusal::NotFound)
    );
}
