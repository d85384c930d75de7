//! Outputs replace nothing but an older output of the same command, and inputs ask for no more than they may.

use std::fs::{self, File};
use std::path::Path;

use aegis_ckks::{KeyGenerator, KeyRequest, Level, N14_L6_S40, N16_B13_S40, Params, ParamsSpec, Seed};

use crate::client::{Client, TEXT};
use crate::{aegis, refused, text};

/// Runs and expects the file at `path` to be kept, and the refusal to name it and what it holds.
fn kept(path: &Path, holds: &str, args: &[&str]) {
    let before = fs::read(path).expect("readable");
    refused(2, &format!("{}: it holds {holds}", path.display()), args);
    assert!(fs::read(path).expect("still there") == before, "{args:?}");
}

/// `encrypt --out keys/secret.key` destroyed the key and said that all was well.
#[test]
fn an_output_replaces_no_file_of_another_kind() {
    let client = Client::new();
    let (keys, model, query, result) =
        (client.keys(), client.model(), client.path("query.ct"), client.path("result.ct"));
    client.result(&result);
    let encrypt_to = |out: &Path| {
        ["encrypt", "--keys", text(&keys), "--model", text(&model), "--text", TEXT, "--out", text(out)]
            .map(str::to_owned)
    };
    let encrypt = |out: &Path, holds: &str| {
        kept(out, holds, &encrypt_to(out).each_ref().map(String::as_str));
    };
    encrypt(&keys.join("secret.key"), "the secret key");
    encrypt(&keys.join("keyset.json"), "the description of a key set");
    encrypt(&model.join("config.json"), "something else");
    encrypt(&result, "an encrypted result");
    #[cfg(unix)]
    {
        let link = client.path("link.ct");
        std::os::unix::fs::symlink(keys.join("secret.key"), &link).expect("a link");
        encrypt(&link, "the secret key");
    }
    // Twice to one place is no fault, nor is an empty file.
    fs::write(&query, b"").expect("writable");
    for _ in 0..2 {
        assert!(aegis(&encrypt_to(&query).each_ref().map(String::as_str)).status.success());
    }

    let eval_keys = client.path("eval.keys");
    fs::write(&eval_keys, b"AEGIS\x03").expect("writable");
    for (out, holds) in [
        (&query, "an encrypted query"),
        (&eval_keys, "evaluation keys"),
        (&keys.join("secret.key"), "the secret key"),
    ] {
        let files = ["--eval-keys", text(&eval_keys), "--in", text(&query), "--out", text(out)];
        kept(out, holds, &[&["eval", "--model", text(&model)], &files[..]].concat());
    }
}

#[test]
fn keygen_replaces_no_file_of_another_kind() {
    let client = Client::new();
    let out = client.path("folder");
    fs::create_dir(&out).expect("writable");
    let foreign = ["notes.txt", "secret.key"].map(|name| out.join(name));
    foreign.iter().for_each(|path| fs::write(path, "precious").expect("writable"));
    let model = client.model();
    // With the force that replaces keys, but not a diary.
    let keygen =
        ["keygen", "--preset", "N14_L6_S40", "--model", text(&model), "--out", text(&out), "--force"];
    kept(&foreign[1], "something else", &keygen);
    // What is refused later leaves the folder as it was.
    fs::remove_file(&foreign[1]).expect("removable");
    refused(2, "does not carry", &keygen);
    let names: Vec<_> =
        fs::read_dir(&out).expect("readable").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names, ["notes.txt"]);
}

/// The folder's files are then of two sets.
#[test]
fn an_interrupted_replacement_of_keys_is_reported() {
    let client = Client::new();
    let (keys, model, out) = (client.keys(), client.model(), client.path("query.ct"));
    fs::create_dir(keys.join("old-keys")).expect("writable");
    let common = ["--keys", text(&keys)];
    let encrypt = ["--model", text(&model), "--text", TEXT, "--out", text(&out)];
    refused(2, "old-keys", &[&["encrypt"], &common[..], &encrypt[..]].concat());
    refused(2, "old-keys", &[&["decrypt"], &common[..], &["--in", text(&out)]].concat());
    refused(2, "old-keys", &["keygen", "--force", "--model", text(&model), "--out", text(&keys)]);
}

/// A file of 136 bytes made the server plan for parameters of its maker's choice.
#[test]
fn parameters_of_a_strangers_choice_are_refused() {
    let client = Client::new();
    let (keys, model, query, out) =
        (client.keys(), client.model(), client.path("query.ct"), client.path("result.ct"));
    let encrypt = ["encrypt", "--keys", text(&keys), "--model", text(&model), "--text", TEXT];
    assert!(aegis(&[&encrypt[..], &["--out", text(&query)]].concat()).status.success());
    let own = Params::try_from(ParamsSpec { name: "MINE".into(), ..N14_L6_S40 }).expect("of 128 bits");
    let eval_keys = client.path("eval.keys");
    own.write(File::create(&eval_keys).expect("writable")).expect("writable");
    let files = ["--eval-keys", text(&eval_keys), "--in", text(&query), "--out", text(&out)];
    let eval = [&["eval", "--model", text(&model)], &files[..]].concat();
    refused(2, "--allow-custom-parameters", &eval);
    let allowed = aegis(&[&eval[..], &["--allow-custom-parameters"]].concat());
    let stderr = String::from_utf8_lossy(&allowed.stderr);
    assert!(allowed.status.code() == Some(2) && !stderr.contains("preset that `aegis params`"), "{stderr}");
}

/// What can be known before a network is planned for a query is checked before.
#[test]
fn keys_of_another_query_are_refused_before_anything_is_planned() {
    let client = Client::new();
    let (keys, model, query, out) =
        (client.keys(), client.model(), client.path("query.ct"), client.path("result.ct"));
    let encrypt = ["encrypt", "--keys", text(&keys), "--model", text(&model), "--text", TEXT];
    assert!(aegis(&[&encrypt[..], &["--out", text(&query)]].concat()).status.success());
    let eval_keys = client.path("eval.keys");
    let files = ["--eval-keys", text(&eval_keys), "--in", text(&query), "--out", text(&out)];
    let eval = [&["eval", "--model", text(&model)], &files[..]].concat();
    let write = |spec: ParamsSpec, relinearize: bool| {
        let ctx = aegis_testing::on_cpu(Params::try_from(spec).expect("a preset"), 1);
        let generator = KeyGenerator::new(&ctx, Seed::new([7; 32]));
        let none = KeyRequest::new(ctx.params().n());
        let request = if relinearize { none.relinearize(Level::BASE) } else { none };
        let made = generator.evaluation_keys(&generator.secret_key(), &request).expect("keys");
        let file = File::create(&eval_keys).expect("writable");
        made.write(&ctx, &file).expect("writable");
        file
    };
    // A hole takes no place on the disk.
    write(N14_L6_S40, true).set_len(1 << 40).expect("a file system with holes");
    refused(2, "its length is not that of its entries", &eval);
    write(N14_L6_S40, true);
    refused(2, "no keys to bootstrap", &eval);
    write(N16_B13_S40, false);
    refused(2, "no keys to bootstrap", &eval);
}
