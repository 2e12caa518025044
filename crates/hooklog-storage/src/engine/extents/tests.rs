use super::*;

fn open(directory: &Path, last: Option<Place>) -> Extents {
    Extents::open(directory, "events", 1000, last).unwrap()
}

#[test]
fn batches_are_read_back_and_extents_are_bounded() {
    let directory = tempfile::TempDir::new().unwrap();
    let extents = open(directory.path(), None);
    let batches: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; 100 * usize::from(n)]).collect();
    let places: Vec<_> = batches
        .iter()
        .map(|batch| extents.append(batch).unwrap())
        .collect();
    extents.sync().unwrap();
    for (batch, place) in batches.iter().zip(&places) {
        assert_eq!(extents.read(*place).unwrap(), batch);
    }
    for path in files(directory.path()).unwrap() {
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes <= 1900, "{} has {bytes} bytes", path.display());
    }
    // It goes on behind the last committed batch, whatever else was written.
    let again = open(directory.path(), Some(places[3]));
    let place = again.append(&[9; 50]).unwrap();
    assert_eq!(
        (place.extent, place.position),
        (places[3].extent, places[3].position + 300)
    );
    again.sync().unwrap();
    assert_eq!(again.read(places[3]).unwrap(), batches[3]);
    assert_eq!(again.read(place).unwrap(), vec![9; 50]);
}

/// Applies of all sizes, opened again now and then.
#[test]
fn many_bytes_are_gathered_and_few_are_not() {
    let directory = tempfile::TempDir::new().unwrap();
    let open = |last| Extents::open(directory.path(), "events", 6 << 20, last).unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut extents = open(None);
    let mut found: Vec<(Place, Vec<u8>)> = Vec::new();
    let mut blocks = 0;
    for round in 0..40 {
        let total = [9_000, 1 << 19, 1 << 20, 3 << 20, 9 << 20][rng.usize(..5)];
        let largest = [20_000, 70_000, 5 << 20][rng.usize(..3)];
        let mut batches: Vec<Vec<u8>> = Vec::new();
        while batches.iter().map(Vec::len).sum::<usize>() < total {
            let length = rng.usize(5000..largest);
            batches.push(vec![rng.u8(1..); length]);
        }
        extents.begin(batches.iter().map(Vec::len).sum(), round % 8 > 0);
        let placed = batches.into_iter().map(|batch| {
            let place = extents.append(&batch).unwrap();
            (place, batch)
        });
        let placed: Vec<_> = placed.collect();
        blocks += usize::from(placed[0].0.position.is_multiple_of(4096));
        extents.sync().unwrap();
        found.extend(placed);
        if rng.u8(..4) == 0 {
            extents = open(Some(found.last().unwrap().0));
        }
        if round % 10 == 9 {
            for (place, batch) in &found {
                assert!(
                    extents.read(*place).unwrap() == batch,
                    "{place:?} of {round}"
                );
            }
            // None reaches into the next, and little is lost between them.
            for (one, other) in found.iter().zip(&found[1..]) {
                let end = one.0.position + u64::from(one.0.bytes);
                if other.0.extent == one.0.extent {
                    assert!((end..end + 4096).contains(&other.0.position));
                } else {
                    assert_eq!((other.0.extent, other.0.position), (one.0.extent + 1, 0));
                }
            }
        }
    }
    assert!((10..40).contains(&blocks), "{blocks} began at a block");
}

#[test]
fn what_lies_below_the_first_row_is_removed() {
    let directory = tempfile::TempDir::new().unwrap();
    let extents = open(directory.path(), None);
    let places: Vec<_> = (0..10)
        .map(|_| extents.append(&[1; 900]).unwrap())
        .collect();
    extents.remove_below(Some(places[4].extent)).unwrap();
    assert!(extents.read(places[3]).is_err());
    assert!(extents.read(places[4]).is_ok());
    extents.remove_below(None).unwrap();
    let left = files(directory.path()).unwrap();
    assert_eq!(left, [extents.path(places[9].extent)]);
    // Without any row the next extent has a number of its own.
    let again = open(directory.path(), None);
    assert_eq!(again.append(&[1]).unwrap().extent, places[9].extent + 1);
}

#[test]
fn rows_say_where_a_batch_lies() {
    let batch: Vec<u8> = (0..200).collect();
    let row_of = |length: usize| {
        let place = Place {
            extent: 7,
            position: 8,
            bytes: u32::try_from(length).unwrap(),
        };
        let mark = Mark {
            place: Some(place),
            ..Mark::of(&batch[..length])
        };
        Row::Elsewhere(place, mark)
    };
    for length in [0, 3, 4, 51, 52, 200] {
        for row in [row_of(length), Row::Inline(&batch[..length])] {
            assert_eq!(Row::decode(&row.encode()), Some(row));
            assert_eq!(row.mark().head, &batch[..length.min(52)]);
        }
    }
    for bad in [&[][..], &[2], &[1, 0], &[1; 78]] {
        assert_eq!(Row::decode(bad), None, "{bad:?}");
    }
    crate::testing::assert_golden("extent_row.hex", &row_of(200).encode());
}
