//! Files that are not a last layer's, each told with its place.

use std::fs;

use kappa_data::LayerError;
use safetensors::tensor::Dtype;

use super::{FROM_NUMPY, Folder, bytes, f64s, npy, two_tensors};

const FOREIGN: &str = "as `np.save` writes them";

#[test]
fn logits_or_probabilities_and_not_both() {
    let mut folder = Folder::new();
    folder.files.probabilities = folder.files.logits.clone();
    assert!(matches!(folder.complains(&["G.npy", "leave one out"]), LayerError::TwoScores { .. }));
    folder.files.probabilities = None;
    folder.files.logits = None;
    assert!(matches!(folder.complains(&["logits", "probabilities"]), LayerError::NoScores { .. }));
}

/// They passed every check, with the spectrum of a softmax's softmax.
#[test]
fn probabilities_given_as_logits_are_refused_unless_they_are_meant() {
    let [features, logits] = two_tensors();
    let rows = bytes(&[0.25, 0.75, 1.0, 0.0], f64::to_le_bytes);
    let bundled = Folder::new().bundle(&[features, ("logits", logits.1, logits.2, rows)]);
    let in_a_file = Folder::new().logits(&f64s("(2, 2)", &[0.25, 0.75, 0.9, 0.1]));
    for (mut folder, file) in [(bundled, "layer.safetensors"), (in_a_file, "Z.npy")] {
        let error = folder.complains(&["logits in", file, "probabilities"]);
        assert!(matches!(error, LayerError::ProbabilitiesAsLogits { .. }));
        folder.files.logits_are_meant = true;
        assert!(matches!(folder.read().unwrap().scores, kappa_data::Scores::Logits(_)));
    }
    // One row that is none is enough.
    Folder::new().logits(&f64s("(2, 2)", &[0.25, 0.75, 0.9, 0.2])).read().unwrap();
}

#[test]
fn tensors_that_are_missing_or_unknown_are_told_by_name() {
    let [features, logits] = two_tensors();
    let named = |name| (name, logits.1, logits.2, logits.3.clone());
    let bundle = |tensors: &[_]| Folder::new().bundle(tensors);
    bundle(&[named("logits")]).complains(&["layer.safetensors holds no `features`"]);
    bundle(std::slice::from_ref(&features))
        .complains(&["layer.safetensors", "logits or probabilities [N, K]"]);
    bundle(&[features.clone(), named("logits"), named("label")]).complains(&["holds a tensor `label`"]);
    let both = bundle(&[features, named("logits"), named("probabilities")]);
    assert!(matches!(both.complains(&["layer.safetensors"]), LayerError::TwoScores { .. }));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let mut folder = Folder::new();
    folder.files.weights = Some(folder.folder.path().join("nowhere.npy"));
    assert!(matches!(folder.complains(&["cannot read", "nowhere.npy"]), LayerError::Unreadable { .. }));
}

#[test]
fn other_formats_are_told() {
    Folder::new().features(b"PK\x03\x04").complains(&["G.npy", "archive", "np.save"]);
    Folder::new().features(b"1.0, 2.0\n").complains(&["G.npy", "not an .npy file"]);
    Folder::new().features(b"").complains(&["G.npy", "not an .npy file"]);
}

#[test]
fn every_cut_of_an_npy_file_is_an_error_and_so_is_a_byte_too_many() {
    let folder = Folder::new().logits(&f64s("(3, 2)", &[0.0; 6]));
    for length in 0..FROM_NUMPY.len() {
        folder.write("G.npy", &FROM_NUMPY[..length]);
        let error = folder.complains(&["G.npy is not usable"]);
        assert!(matches!(error, LayerError::Malformed { .. }), "{length}");
    }
    folder.complains(&["shape [3, 2] of f32, 24 bytes, and 23 follow"]);
    folder.write("G.npy", &[FROM_NUMPY, b"x"].concat());
    folder.complains(&["G.npy is not usable", "24 bytes, and 25 follow"]);
}

#[test]
fn every_cut_of_a_safetensors_file_is_an_error_and_so_is_a_byte_too_many() {
    let folder = Folder::new().bundle(&two_tensors());
    let whole = fs::read(&folder.files.features).unwrap();
    for length in 0..whole.len() {
        folder.write("layer.safetensors", &whole[..length]);
        let error = folder.complains(&["layer.safetensors is not usable"]);
        assert!(matches!(error, LayerError::Malformed { .. }), "{length}");
    }
    folder.write("layer.safetensors", &[&whole[..], b"x"].concat());
    let told = format!("it has {} bytes, and its header promises another number", whole.len() + 1);
    folder.complains(&["layer.safetensors is not usable", &told]);
}

#[test]
fn a_header_that_promises_too_much_allocates_nothing() {
    let data = [0; 48];
    for (shape, told) in [
        ("(1000000000, 1000000)", "8000000000000000 bytes, and 48 follow"),
        ("(4611686018427387904, 3)", "more bytes than can be, and 48 follow"),
        ("(2, 18446744073709551615)", "more bytes than can be, and 48 follow"),
        ("(4294967296, 4294967296, 0)", "more bytes than can be, and 48 follow"),
        ("(2, 99999999999999999999999)", FOREIGN),
        ("(-2, -3)", FOREIGN),
    ] {
        Folder::new().features(&npy("'<f8'", false, shape, &data)).complains(&["G.npy is not usable", told]);
    }
    let header =
        r#"{"features":{"dtype":"F64","shape":[1000000000,1000000],"data_offsets":[0,8000000000000000]}}"#;
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    let mut folder = Folder::new();
    folder.files.features = folder.write("layer.safetensors", &file);
    folder.complains(&["layer.safetensors is not usable", "promises another number"]);
    folder.write("layer.safetensors", &[0xff; 64]);
    folder.complains(&["layer.safetensors is not usable"]);
}

#[test]
fn an_empty_array_of_many_rows_is_told_at_once() {
    for fortran in [false, true] {
        let file = npy("'<f8'", fortran, "(2305843009213693951, 0)", &[]);
        let error = Folder::new().features(&file).complains(&["features in", "G.npy are empty"]);
        assert!(matches!(error, LayerError::Empty { .. }));
    }
    Folder::new().features(&f64s("(0, 3)", &[])).complains(&["[0, 3]"]);
}

#[test]
fn a_header_that_claims_to_be_long_or_is_nested_is_refused() {
    let file = [b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..], b"{'descr': "].concat();
    Folder::new().features(&file).complains(&["4294967295 bytes", "at most 10000"]);
    let nested = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    Folder::new().features(&npy("'<f8'", false, &nested, &[])).complains(&[FOREIGN]);
}

#[test]
fn no_damaged_header_panics() {
    let folder = Folder::new().logits(&f64s("(3, 2)", &[0.0; 6]));
    let header = FROM_NUMPY.len() - 24;
    let mut damaged = FROM_NUMPY.to_vec();
    for place in 0..header {
        for byte in [0, b' ', b'\'', b'"', b'(', b'}', b',', b'9', b'-', b'\\', b'\n', 0x80, 0xff] {
            damaged[place] = byte;
            folder.write("G.npy", &damaged);
            drop(folder.read());
        }
        damaged[place] = FROM_NUMPY[place];
    }
}

#[test]
fn elements_that_are_not_f32_or_f64_are_told_with_their_type() {
    for (descr, width) in [
        ("'<f16'", 16),
        ("'|b1'", 1),
        ("'<c8'", 8),
        ("'|S3'", 3),
        ("'<M8[ns]'", 8),
        ("'|O'", 8),
        ("[('a', '<f4'), ('b', '<f8'), ]", 12),
    ] {
        let folder = Folder::new().features(&npy(descr, false, "(2, 3)", &vec![0; 6 * width]));
        let error =
            folder.complains(&["features in", "G.npy", descr.trim_matches('\''), ".astype(np.float32)"]);
        assert!(matches!(error, LayerError::ElementType { .. }));
    }
    let integers = npy("'<i8'", false, "(2, 3)", &[0; 48]);
    Folder::new().weights(&integers).complains(&["weights in", "W.npy", "i64", ".astype(np.float32)"]);
    let reals = f64s("(2,)", &[0.0, 1.0]);
    Folder::new().labels(&reals).complains(&["labels in", "y.npy", "f64", ".astype(np.int64)"]);

    let [mut features, logits] = two_tensors();
    (features.1, features.3) = (Dtype::F8_E5M2, vec![0; 2]);
    Folder::new().bundle(&[features, logits]).complains(&["features in", "F8_E5M2", "x.float()"]);
}

#[test]
fn a_wrong_number_of_dimensions_is_told_with_the_shape() {
    let line = f64s("(2,)", &[0.0; 2]);
    let error = Folder::new().features(&line).complains(&["[2]", "[N, m]", "x.reshape(-1, 1)"]);
    assert!(matches!(error, LayerError::Dimensions { .. }));
    let one_hot = npy("'|u1'", false, "(2, 2)", &[0, 1, 1, 0]);
    Folder::new().labels(&one_hot).complains(&["labels in", "[2, 2]", "x.argmax(axis=-1)"]);
}

#[test]
fn other_numbers_of_samples_are_told_with_both() {
    let error = Folder::new().logits(&f64s("(3, 2)", &[0.0; 6])).complains(&[
        "logits in",
        "Z.npy are for 3 samples",
        "features in",
        "G.npy for 2",
    ]);
    assert!(matches!(error, LayerError::SampleCount { .. }));
    let three = npy("'|u1'", false, "(3,)", &[0, 1, 0]);
    Folder::new().labels(&three).complains(&["labels in", "y.npy are for 3 samples"]);
}

#[test]
fn the_first_number_that_is_not_finite_is_told_with_its_place() {
    // In Fortran order too the place is that in the matrix.
    let numbers = [1.0, 2.0, 3.0, f64::NAN, 5.0, 6.0];
    let file = npy("'<f8'", true, "(2, 3)", &bytes(&numbers, f64::to_le_bytes));
    let error = Folder::new().features(&file).complains(&["G.npy hold NaN in row 1, column 1"]);
    assert!(matches!(error, LayerError::NotFinite { row: 1, column: 1, .. }));
    let infinite = f64s("(2, 2)", &[0.0, f64::INFINITY, 0.0, 0.0]);
    let error = Folder::new().logits(&infinite).complains(&["Z.npy hold inf in row 0, column 1"]);
    assert!(matches!(error, LayerError::NotFinite { .. }));
    let nothing = f64s("(2, 2)", &[0.0, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY]);
    let error = Folder::new().logits(&nothing).complains(&["Z.npy hold nothing but -inf in row 1"]);
    assert!(matches!(error, LayerError::NoClass { row: 1, .. }));
    let infinite = f64s("(2, 3)", &[0.0, 1.0, 2.0, 3.0, f64::NEG_INFINITY, 5.0]);
    Folder::new().features(&infinite).complains(&["G.npy hold -inf in row 1, column 1"]);
}

#[test]
fn what_is_no_distribution_is_told_with_its_place() {
    let error = Folder::new()
        .probabilities(&f64s("(2, 2)", &[0.5, 0.5, 2.0, -1.0]))
        .complains(&["P.npy hold 2 in row 1, column 0", "are these logits"]);
    assert!(matches!(error, LayerError::NotAProbability { .. }));
    let error = Folder::new()
        .probabilities(&f64s("(2, 2)", &[0.5, 0.5, 0.5, 0.25]))
        .complains(&["row 1 of probabilities in", "P.npy sums to 0.75"]);
    assert!(matches!(error, LayerError::RowSum { .. }));
}

#[test]
fn weights_of_another_shape_are_told_and_transposed_ones_by_that_word() {
    let error = Folder::new().weights(&f64s("(3, 2)", &[0.0; 6])).complains(&["W.npy", "[3, 2]", "`W.T`"]);
    assert!(matches!(error, LayerError::TransposedWeights { .. }));
    let error = Folder::new().weights(&f64s("(2, 4)", &[0.0; 8])).complains(&["W.npy", "[2, 4]", "[2, 3]"]);
    assert!(matches!(error, LayerError::WeightsShape { .. }));
}

#[test]
fn a_label_that_is_no_class_is_told_with_its_sample() {
    for (descr, data, told) in [
        ("'|u1'", vec![0, 2], "hold 2 for sample 1"),
        ("'|i1'", vec![0xff, 0], "hold -1 for sample 0"),
        ("'<u8'", vec![0xff; 16], "hold 18446744073709551615 for sample 0"),
    ] {
        let folder = Folder::new().labels(&npy(descr, false, "(2,)", &data));
        let error = folder.complains(&["labels in", "y.npy", told, "from 0 to 1"]);
        assert!(matches!(error, LayerError::LabelRange { .. }));
    }
}
