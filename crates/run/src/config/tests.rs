use kappa_model::{Kind, Place};

use super::*;

const TEXT: &str = r#"
name = "fc"
[data]
train = 6
validation = 3
test = 2
[network]
hidden = 4
[training]
epochs = 2
batch_size = 3
[training.adam]
learning_rate = 1e-3
"#;

fn parse(text: &str, assignments: &[&str]) -> Result<Config, RunError> {
    let assignments: Vec<String> = assignments.iter().map(ToString::to_string).collect();
    super::parse("x.toml", text, &assignments)
}

fn complaint(text: &str, assignments: &[&str]) -> String {
    parse(text, assignments).map_or_else(|error| error.to_string(), |_| "none".to_owned())
}

#[test]
fn defaults_are_resolved_and_written_out() {
    let config = parse(TEXT, &[]).unwrap();
    assert_eq!(config.network_label(), "FC");
    let written = config.to_toml().unwrap();
    for line in ["seed = 0", "scaling = \"unit\"", "order = \"file\"", "l2 = 0.0", "beta_1 = 0.9"] {
        assert!(written.contains(line), "{line} in {written}");
    }
    assert_eq!(parse(&written, &[]).unwrap(), config);
}

#[test]
fn every_shipped_configuration_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if WhyConfig::is_one(&text) {
            let why = WhyConfig::load(&path, &[]).unwrap();
            assert_eq!(super::parse::<WhyConfig>("x", &why.to_toml().unwrap(), &[]).unwrap(), why);
        } else if StudyConfig::is_one(&text) {
            let study = StudyConfig::load(&path, &[]).unwrap();
            let written: StudyConfig = super::parse("x", &study.to_toml().unwrap(), &[]).unwrap();
            assert_eq!(written, study);
        } else {
            let config = Config::load(&path, &[]).unwrap();
            assert_eq!(parse(&config.to_toml().unwrap(), &[]).unwrap(), config);
        }
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn hidden_layers_are_a_number_or_a_list() {
    assert_eq!(parse(TEXT, &[]).unwrap().network.hidden, [4]);
    let deep = parse(TEXT, &["network.hidden=[8, 5]"]).unwrap();
    assert_eq!(deep.network.hidden, [8, 5]);
    assert!(deep.to_toml().unwrap().contains("hidden = [8, 5]"));
    assert!(parse(TEXT, &["network.hidden=[8]"]).unwrap().to_toml().unwrap().contains("hidden = 8\n"));
}

#[test]
fn values_can_be_set_from_the_command_line() {
    let config = parse(
        TEXT,
        &[
            "training.adam.learning_rate=0.5",
            "training.batch_size=full",
            "network.normalisation.kind=batch",
            "network.normalisation.epsilon=1e-3",
            "data.scaling=standardised",
            "data.folder=/a b",
        ],
    )
    .unwrap();
    assert_eq!(config.training.optimizer.learning_rate(), 0.5);
    assert_eq!(config.training.batch_size, BatchSize::Full);
    let normalisation = config.network.normalisation;
    let (kind, place) = (Kind::Batch, Place::After);
    assert_eq!(normalisation, Normalisation { kind, place, epsilon: 1e-3, ..Normalisation::default() });
    assert_eq!(config.data.scaling, Scaling::Standardised);
    assert_eq!(config.data.folder, Some(PathBuf::from("/a b")));
    assert_eq!(config.network_label(), "FC+BN");
}

#[test]
fn unknown_keys_and_wrong_types_are_told_with_their_line() {
    let misspelt = complaint(&TEXT.replace("learning_rate", "lr"), &[]);
    assert!(misspelt.contains("line 13") && misspelt.contains("unknown field `lr`"), "{misspelt}");
    let wrong = complaint(&TEXT.replace("hidden = 4", "hidden = \"many\""), &[]);
    assert!(wrong.contains("line 8") && wrong.contains("hidden units"), "{wrong}");
    assert!(complaint(&TEXT.replace("epochs = 2", ""), &[]).contains("missing field `epochs`"));
    assert!(complaint("name = [", &[]).contains("line 1"));
}

#[test]
fn absurd_values_are_told_with_their_line() {
    for (from, to, told) in [
        ("learning_rate = 1e-3", "learning_rate = -1e-3", "above 0"),
        ("learning_rate = 1e-3", "learning_rate = inf", "above 0"),
        ("learning_rate = 1e-3", "learning_rate = nan", "above 0"),
        ("learning_rate = 1e-3", "learning_rate = 1e-3\nbeta_1 = 1.0", "below 1"),
        ("epochs = 2", "epochs = 2\nl2 = -1.0", "from 0"),
        ("epochs = 2", "epochs = 0", "nonzero"),
        ("hidden = 4", "hidden = 0", "hidden units"),
        ("hidden = 4", "hidden = 10000000000", "hidden units"),
        ("hidden = 4", "hidden = []", "hidden units"),
        ("hidden = 4", "hidden = [4, 0]", "hidden units"),
        ("hidden = 4", "hidden = 4\nnormalisation.kind = \"bach\"", "unknown variant `bach`"),
        ("hidden = 4", "hidden = 4\nnormalisation.epsilon = 0.0", "above 0"),
        ("hidden = 4", "hidden = 4\nnormalisation.momentum = 2.0", "from 0 to 1"),
        ("batch_size = 3", "batch_size = 0", "a batch size"),
        ("batch_size = 3", "batch_size = -1", "a batch size"),
        ("batch_size = 3", "batch_size = \"half\"", "a batch size"),
        ("train = 6", "train = -6", "invalid value"),
        ("\"fc\"", "\"../fc\"", "invalid name"),
        ("\"fc\"", "\"\"", "invalid name"),
    ] {
        let message = complaint(&TEXT.replace(from, to), &[]);
        assert!(message.contains(told) && message.contains("line "), "{to}: {message}");
    }
}

#[test]
fn a_key_that_is_the_end_of_a_known_one_is_told_with_that_one() {
    let known_as = |text: &str, assignments: &[&str]| match parse(text, assignments) {
        Err(RunError::Config { unknown, .. }) => {
            unknown.into_iter().map(|unknown| unknown.known_as.join(" or ")).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(known_as(TEXT, &["hidden=50"]), ["network.hidden"]);
    assert_eq!(known_as(TEXT, &["adam.epsilon=1"]), ["training.adam.epsilon"]);
    let either = "network.normalisation.epsilon or training.adam.epsilon";
    assert_eq!(known_as(TEXT, &["epsilon=1"]), [either]);
    let either = "training.adam.learning_rate or training.descent.learning_rate";
    assert_eq!(known_as(TEXT, &["training.learning_rate=1"]), [either]);
    assert_eq!(known_as(&format!("epochs = 3\n{TEXT}"), &[]), ["training.epochs"]);
    // Of a misspelt one nothing is known, and of a wrong value nothing is unknown.
    assert!(known_as(TEXT, &["network.hiden=50"]).is_empty());
    assert!(known_as(TEXT, &["training.epochs=0"]).is_empty());
}

#[test]
fn the_keys_are_those_of_the_guide() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/train.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let keys = Config::keys();
    assert_eq!(keys.len(), 26, "{keys:?}");
    for key in keys {
        let last = key.rsplit('.').next().unwrap();
        assert!(guide.contains(&format!("`{last}`")) || guide.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn of_a_run_that_has_begun_only_the_number_of_epochs_can_be_set() {
    let config = parse(TEXT, &[]).unwrap();
    let epochs = NonZeroUsize::new(60).unwrap();
    let training = TrainingConfig { epochs, ..config.training.clone() };
    let longer = Config { training, ..config.clone() };
    assert_eq!(config.prolonged(&["training.epochs=60".to_owned()]).unwrap(), longer);
    let refused = config.prolonged(&["seed=1".to_owned()]).unwrap_err().to_string();
    assert!(refused.contains("seed=1") && refused.contains("training.epochs"), "{refused}");
    for wrong in ["training.epochs=0", "training.epochs=many", "training.epochs"] {
        assert!(config.prolonged(&[wrong.to_owned()]).is_err(), "{wrong}");
    }
}

#[test]
fn batch_norm_on_a_single_sample_is_refused_and_nothing_else_is() {
    let batch_norm = "network.normalisation.kind=batch";
    let check = |settings: &[&str]| parse(TEXT, settings).unwrap().check_batches();
    for refused in ["data.train=7", "training.batch_size=1", "training.batch_size=5"] {
        assert!(check(&[refused]).is_ok(), "{refused} without batch norm");
        let error = check(&[refused, batch_norm]).unwrap_err();
        assert!(matches!(error, RunError::LoneSample(_)), "{refused}: {error}");
    }
    let alone = check(&["data.train=1", "training.batch_size=full", batch_norm]).unwrap_err();
    assert!(alone.to_string().contains("single sample"), "{alone}");
    for allowed in ["training.batch_size=4", "training.batch_size=full", "training.batch_size=60"] {
        assert!(check(&[allowed, batch_norm]).is_ok(), "{allowed}");
    }
}

#[test]
fn a_bad_assignment_is_told_as_it_was_typed() {
    assert!(complaint(TEXT, &["seed"]).contains("seed cannot be set: expected path=value"));
    assert!(complaint(TEXT, &["a..b=1"]).contains("empty part"));
    assert!(complaint(TEXT, &["name.x=1"]).contains("`name` is a value"));
    let unknown = complaint(TEXT, &["training.lr=1"]);
    assert!(unknown.contains("with training.lr=1") && unknown.contains("unknown field `lr`"), "{unknown}");
    assert!(complaint(TEXT, &["seed=-1"]).contains("with seed=-1"));
}

#[test]
fn an_optimizer_is_chosen_by_name_and_has_its_table() {
    let load = |set: &[&str]| parse(TEXT, set);
    assert!(load(&[]).unwrap().training.optimizer.adam().is_some());
    let message = load(&["training.optimizer=descent"]).unwrap_err().to_string();
    assert!(message.contains("missing table `training.descent`"), "{message}");
    let descent = load(&["training.optimizer=descent", "training.descent.learning_rate=0.5"]).unwrap();
    let expected = DescentConfig { learning_rate: 0.5, momentum: 0.0 };
    assert_eq!(descent.training.optimizer, Optimizer::Descent(expected));
    // Adam's table, which is there too, is passed over and not written.
    let written = descent.to_toml().unwrap();
    assert!(written.contains("optimizer = \"descent\"") && !written.contains("adam"), "{written}");
    assert_eq!(parse(&written, &[]).unwrap(), descent);
    let message = load(&["training.optimizer=newton"]).unwrap_err().to_string();
    assert!(message.contains("newton") && message.contains("descent"), "{message}");
    assert!(Config::keys().contains(&"training.descent.momentum".to_owned()));
}
