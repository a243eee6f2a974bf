//! What people bring: half precision, headers of other times, archives, several dimensions of samples,
//! masked classes, one logit, files that are larger than what may be taken.

use kappa_data::{Elements, Ignored, LastLayer, LayerError};
use safetensors::tensor::Dtype;

use super::{Folder, all, bytes, f64s, logits, matrix, npy, probabilities, two_tensors};

/// 1, -2.5, the largest, the smallest, a tenth, 3: exact in f32.
const HALVES: [(u16, f32); 6] = [
    (0x3c00, 1.0),
    (0xc100, -2.5),
    (0x7bff, 65504.0),
    (0x0001, 5.960_464_5e-8),
    (0x2e66, 0.099_975_586),
    (0x4200, 3.0),
];
/// The same of eight bits: the upper half of an f32.
const BRAIN: [(u16, f32); 6] = [
    (0x3f80, 1.0),
    (0xc020, -2.5),
    (0x7f7f, 3.389_531_4e38),
    (0x0001, 9.183_55e-41),
    (0x3dcd, 0.100_097_656),
    (0x4040, 3.0),
];

#[test]
fn half_precision_is_read_exactly_as_single() {
    for (descr, dtype, numbers) in [("'<f2'", Dtype::F16, HALVES), ("'<V2'", Dtype::BF16, BRAIN)] {
        let words = numbers.map(|(word, _)| word);
        let expected = Elements::F32(numbers.map(|(_, number)| number).to_vec());
        let data = bytes(&words, u16::to_le_bytes);
        let from_npy = Folder::new().features(&npy(descr, false, "(2, 3)", &data)).read().unwrap();
        assert_eq!(all(&from_npy.features).elements, expected, "{descr}");
        let [mut features, mut scores] = two_tensors();
        (features.1, features.2, features.3) = (dtype, &[2, 3], data.clone());
        (scores.1, scores.2, scores.3) = (dtype, &[2, 3], data);
        let bundled = Folder::new().bundle(&[features, scores]).read().unwrap();
        assert_eq!(all(&bundled.features).elements, expected, "{dtype:?}");
        assert_eq!(logits(&bundled).elements, expected, "{dtype:?}");
    }
    let big = npy("'>f2'", false, "(2, 3)", &bytes(&HALVES.map(|(word, _)| word), u16::to_be_bytes));
    let read = Folder::new().features(&big).read().unwrap();
    assert_eq!(all(&read.features).elements, Elements::F32(HALVES.map(|(_, number)| number).to_vec()));
}

#[test]
fn headers_of_python_2_and_with_numpys_scalars_are_read() {
    let data = bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], f64::to_le_bytes);
    for shape in ["(2L, 3L)", "(2, np.int64(3))", "(np.int64(2), np.int32(3))", "(np.uint8(2),3)", "(2L,3)"] {
        let layer = Folder::new().features(&npy("'<f8'", false, shape, &data)).read().unwrap();
        assert_eq!(all(&layer.features), matrix(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), "{shape}");
    }
    for shape in ["(2LL, 3)", "(2, np.float64(3))", "(2 3)", "(2, np.int64(3)", "(2, np.int64())", "(L, 3)"] {
        let error = Folder::new().features(&npy("'<f8'", false, shape, &data)).read().unwrap_err();
        assert!(matches!(error, LayerError::Malformed { .. }), "{shape}: {error}");
    }
}

#[test]
fn an_archive_of_numpy_is_read_as_a_safetensors_file_is() {
    // `np.savez` and `np.savez_compressed` of numpy 2.4.6.
    for archive in [&include_bytes!("from-numpy.npz")[..], &include_bytes!("from-numpy-compressed.npz")[..]] {
        let mut folder = Folder::new();
        let path = folder.write("layer.npz", archive);
        folder.files = kappa_data::LastLayerFiles { features: path, ..Default::default() };
        let layer = folder.read().unwrap();
        let expected = Elements::F32((0..6).map(|i| i as f32 / 4.0).collect());
        assert_eq!(all(&layer.features).elements, expected);
        assert_eq!(logits(&layer), matrix(2, 2, &[0.5, -0.5, 1.5, 0.0]));
        assert_eq!((layer.labels, layer.files.len()), (Some(vec![1, 0]), 1));
        // Any cut of it is an error.
        for length in 0..archive.len() {
            folder.write("layer.npz", &archive[..length]);
            let error = folder.complains(&["layer.npz"]);
            assert!(matches!(error, LayerError::Malformed { .. } | LayerError::Tensors { .. }), "{length}");
        }
        let mut damaged = archive.to_vec();
        for place in 0..archive.len() {
            for byte in [0, 1, b'9', 0x7f, 0xff] {
                damaged[place] = byte;
                folder.write("layer.npz", &damaged);
                drop(LastLayer::from_files(&folder.files, 1 << 20));
            }
            damaged[place] = archive[place];
        }
    }
}

#[test]
fn leading_dimensions_are_samples_and_a_label_leaves_samples_out() {
    let numbers: Vec<f64> = (0..12).map(f64::from).collect();
    let scores: Vec<f64> = (0..12).map(|i| f64::from(i) * 0.5 - 3.0).collect();
    let labels = [1i64, -100, 0, -100];
    let folder = Folder::new()
        .features(&f64s("(2, 2, 3)", &numbers))
        .logits(&f64s("(2, 2, 3)", &scores))
        .labels(&npy("'<i8'", false, "(2, 2)", &bytes(&labels, i64::to_le_bytes)));
    let layer = folder.read().unwrap();
    assert_eq!(layer.ignored, Some(Ignored { label: -100, samples: 2 }));
    assert_eq!(layer.labels, Some(vec![1, 0]));
    assert_eq!(all(&layer.features), matrix(2, 3, &[0.0, 1.0, 2.0, 6.0, 7.0, 8.0]));
    assert_eq!(logits(&layer), matrix(2, 3, &[-3.0, -2.5, -2.0, 0.0, 0.5, 1.0]));

    let mut other = folder;
    other.files.ignore_index = 0;
    let error = other.complains(&["labels in", "y.npy hold -100 for sample 1"]);
    assert!(matches!(error, LayerError::LabelRange { .. }));
    let all_out = npy("'<i8'", false, "(2, 2)", &bytes(&[-100i64; 4], i64::to_le_bytes));
    other.files.ignore_index = -100;
    assert!(matches!(other.labels(&all_out).read().unwrap_err(), LayerError::AllIgnored { .. }));
    let error = Folder::new()
        .features(&f64s("(2, 2, 3)", &numbers))
        .logits(&f64s("(4, 3)", &scores))
        .complains(&["Z.npy are for 4 samples", "2 x 2"]);
    assert!(matches!(error, LayerError::SampleCount { .. }));
}

/// In Fortran's order the first dimension runs fastest, of all three, and samples are counted with
/// the last one of theirs running fastest.
#[test]
fn several_dimensions_of_samples_in_fortrans_order_are_the_same_samples() {
    let element = |b: usize, t: usize, i: usize| (100 * b + 10 * t + i) as f64;
    let by_rows: Vec<f64> = (0..24).map(|index| element(index / 12, index / 4 % 3, index % 4)).collect();
    let by_columns: Vec<f64> = (0..24).map(|index| element(index % 2, index / 2 % 3, index / 6)).collect();
    let scores: Vec<f64> = (0..12).map(f64::from).collect();
    // By rows 0 1 2 | 3 -100 1, of [2, 3].
    let labels = [0i64, 1, 1, -100, 1, 0];
    let labels = npy("'<i8'", true, "(2, 3)", &bytes(&labels, i64::to_le_bytes));
    let file = npy("'<f8'", true, "(2, 3, 4)", &bytes(&by_columns, f64::to_le_bytes));
    let folder = Folder::new().features(&file).logits(&f64s("(2, 3, 2)", &scores));
    assert_eq!(all(&folder.read().unwrap().features), matrix(6, 4, &by_rows));
    let layer = folder.labels(&labels).read().unwrap();
    assert_eq!(layer.labels, Some(vec![0, 1, 1, 1, 0]));
    // The fifth sample is left out: b = 1, t = 1.
    let kept = [&by_rows[..16], &by_rows[20..]].concat();
    assert_eq!(all(&layer.features), matrix(5, 4, &kept));
    assert_eq!(logits(&layer), matrix(5, 2, &[&scores[..8], &scores[10..]].concat()));
}

/// Such an array is read whole, or refused: what is one sample lies all over it.
#[test]
fn several_dimensions_in_fortrans_order_that_do_not_fit_are_refused_with_a_way() {
    let file = npy("'<f8'", true, "(20, 30, 4)", &bytes(&[0.5; 2400], f64::to_le_bytes));
    let folder = Folder::new().features(&file).logits(&f64s("(20, 30, 2)", &[0.0; 1200]));
    folder.read().unwrap();
    let error = LastLayer::from_files(&folder.files, 10_000).unwrap_err();
    assert!(matches!(error, LayerError::NoMemory { .. }), "{error}");
    assert!(error.to_string().contains("np.ascontiguousarray(x)"), "{error}");
}

/// An archive beyond 4 GiB has its numbers in 64 bits, beside those that are full.
#[test]
fn an_archive_with_numbers_of_64_bits_is_read() {
    let archive = include_bytes!("from-numpy.npz");
    let end = archive.len() - 22;
    let word = |at: usize| u32::from_le_bytes(archive[at..at + 4].try_into().unwrap());
    let (length, start) = (word(end + 12), word(end + 16) as usize);
    // The first member's size, packed size and place too.
    let header = &archive[start..start + 46];
    let name = usize::from(u16::from_le_bytes([header[28], header[29]]));
    let wide = [word(start + 24), word(start + 20), word(start + 42)].map(u64::from);
    let extra = [&[1, 0, 24, 0][..], &bytes(&wide, u64::to_le_bytes)].concat();
    let full = [0xff; 4];
    let extras = [extra.len() as u8, 0];
    let narrow = [&header[..20], &full, &full, &header[28..30], &extras, &header[32..42], &full].concat();
    let members =
        [&narrow, &archive[start + 46..start + 46 + name], &extra, &archive[start + 46 + name..end]];
    let directory = members.concat();
    assert_eq!(directory.len(), length as usize + extra.len());
    let mut wide_end = [b"PK\x06\x06".as_slice(), &[0; 52]].concat();
    wide_end[40..48].copy_from_slice(&(directory.len() as u64).to_le_bytes());
    wide_end[48..56].copy_from_slice(&(start as u64).to_le_bytes());
    let place = ((start + directory.len()) as u64).to_le_bytes();
    let locator = [b"PK\x06\x07".as_slice(), &[0; 4], &place, &[1, 0, 0, 0]].concat();
    let last = [&archive[end..end + 12], &full, &full, &[0, 0]].concat();
    let whole = [&archive[..start], &directory, &wide_end, &locator, &last].concat();
    let mut folder = Folder::new();
    let features = folder.write("layer.npz", &whole);
    folder.files = kappa_data::LastLayerFiles { features, ..Default::default() };
    assert_eq!(logits(&folder.read().unwrap()), matrix(2, 2, &[0.5, -0.5, 1.5, 0.0]));
    // Sizes that are not so are an error.
    for at in [start + 46 + name + 4, start + 46 + name + 12, start + directory.len() + 40] {
        let mut wrong = whole.clone();
        wrong[at + 6] = 0x7f;
        folder.write("layer.npz", &wrong);
        assert!(matches!(folder.complains(&["layer.npz"]), LayerError::Malformed { .. }), "{at}");
    }
}

#[test]
fn a_masked_class_has_a_logit_of_minus_infinity_and_no_label() {
    let masked = f64s("(2, 2)", &[0.0, f64::NEG_INFINITY, 1.5, 0.0]);
    let folder = Folder::new().logits(&masked);
    assert_eq!(
        logits(&folder.read().unwrap()).elements,
        Elements::F64(vec![0.0, f64::NEG_INFINITY, 1.5, 0.0])
    );
    let error = folder
        .labels(&npy("'|u1'", false, "(2,)", &[1, 0]))
        .complains(&["y.npy say 1 for sample 0", "Z.npy hold -inf for it"]);
    assert!(matches!(error, LayerError::ImpossibleLabel { sample: 0, .. }));
}

#[test]
fn one_logit_a_sample_is_that_of_the_second_of_two_classes() {
    for shape in ["(2,)", "(2, 1)"] {
        let layer = Folder::new()
            .logits(&f64s(shape, &[0.25, 0.75]))
            .weights(&f64s("(1, 3)", &[1.0, 0.0, 0.5]))
            .labels(&npy("'|u1'", false, "(2,)", &[1, 0]))
            .read()
            .unwrap();
        assert_eq!(logits(&layer), matrix(2, 1, &[0.25, 0.75]), "{shape}");
        assert!(layer.scores.are_of_a_sigmoid());
        // As they are, and not divided by their sum.
        let layer = Folder::new().probabilities(&f64s(shape, &[0.25, 0.75])).read().unwrap();
        assert_eq!(probabilities(&layer), matrix(2, 1, &[0.25, 0.75]), "{shape}");
    }
    let two = npy("'|u1'", false, "(2,)", &[2, 0]);
    Folder::new().logits(&f64s("(2,)", &[0.0, 1.0])).labels(&two).complains(&["from 0 to 1"]);
    Folder::new().probabilities(&f64s("(2,)", &[0.0, 1.5])).complains(&["hold 1.5 in row 1"]);
}

#[test]
fn what_does_not_fit_stays_in_its_file_and_reads_the_same() {
    let (n, m, k) = (700, 30, 5);
    let wave = |count: usize, step: f64| (0..count).map(|i| (step * i as f64).sin()).collect::<Vec<f64>>();
    let (g, z) = (wave(n * m, 1.3), wave(n * k, 0.7));
    let by_columns: Vec<f64> = (0..n * m).map(|i| g[i % n * m + i / n]).collect();
    let labels: Vec<i64> = (0..n as i64).map(|i| if i % 7 == 0 { -100 } else { i % 5 }).collect();
    let labels = npy("'<i8'", false, "(700,)", &bytes(&labels, i64::to_le_bytes));
    for features in
        [f64s("(700, 30)", &g), npy("'<f8'", true, "(700, 30)", &bytes(&by_columns, f64::to_le_bytes))]
    {
        let folder = Folder::new().features(&features).logits(&f64s("(700, 5)", &z)).labels(&labels);
        let whole = folder.read().unwrap();
        // A third of the 196,000 bytes of both arrays.
        let parts = LastLayer::from_files(&folder.files, 65_000).unwrap();
        assert!(whole.features.is_in_memory() && !parts.features.is_in_memory());
        assert!(!parts.scores.rows().is_in_memory());
        assert_eq!((&parts.labels, &parts.files), (&whole.labels, &whole.files));
        assert_eq!(parts.features.count(), 600);
        assert_eq!(all(&parts.features), all(&whole.features));
        for range in [0..1, 599..600, 13..402] {
            assert_eq!(
                parts.features.read(range.clone()).unwrap(),
                whole.features.read(range.clone()).unwrap()
            );
            assert_eq!(
                parts.scores.rows().read(range.clone()).unwrap(),
                whole.scores.rows().read(range).unwrap()
            );
        }
        // What is wrong is found there too, at its place.
        let mut wrong = g.clone();
        wrong[650 * m + 7] = f64::NAN;
        let folder = folder.features(&f64s("(700, 30)", &wrong));
        let error = LastLayer::from_files(&folder.files, 65_000).unwrap_err();
        assert!(matches!(error, LayerError::NotFinite { row: 650, column: 7, .. }), "{error}");
        // And what cannot go in parts is refused with the sizes.
        let error = LastLayer::from_files(&folder.files, 2_000).unwrap_err().to_string();
        assert!(error.contains("of memory at once, and") && error.contains("may be taken"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_is_larger_than_any_memory_is_refused_or_gone_through_and_never_read_whole() {
    let folder = Folder::new();
    // 8 TB, of which the disk holds the header.
    let header = npy("'<f8'", false, "(10000000, 100000)", &[]);
    let path = folder.write("G.npy", &header);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(header.len() as u64 + 8_000_000_000_000).unwrap();
    let error = LastLayer::from_files(&folder.files, 1 << 30).unwrap_err();
    assert!(matches!(error, LayerError::SampleCount { .. }), "the shapes are compared first: {error}");
    let wide = npy("'<f8'", false, "(2, 500000000000)", &[]);
    let path = folder.write("G.npy", &wide);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(wide.len() as u64 + 8_000_000_000_000).unwrap();
    let error = LastLayer::from_files(&folder.files, 1 << 30).unwrap_err().to_string();
    assert!(error.contains("8000.0 GB") || error.contains("4000.0 GB"), "{error}");
    assert!(error.contains("1.1 GB may be taken"), "{error}");
}
