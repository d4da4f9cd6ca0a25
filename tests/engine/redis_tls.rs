//! A Redis that speaks TLS, and asks who is there.

use std::{path::Path, process::Command};

use keepwell_workers::{database::Dialect, lane::Lane};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use tempfile::TempDir;

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{eventually, process::Process, redis_node::free_port};

/// Writes an authority's certificate, and a certificate and key of its for each of `names`.
fn certificates(directory: &Path, names: [&str; 2]) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(directory.join("authority.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let authority = Issuer::new(params, key);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        // Who is called what the authority is called would count as having signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn a_redis_behind_tls_is_used_by_whoever_knows_it_and_is_known_to_it() {
    let directory = TempDir::with_prefix("keepwell-tls-").unwrap();
    certificates(directory.path(), ["server", "keepwell"]);
    let port = free_port();
    let mut command = Command::new("redis-server");
    command
        .current_dir(directory.path())
        .args(["--port", "0", "--bind", "127.0.0.1", "--tls-port", &port.to_string(), "--save", ""])
        .args(["--tls-ca-cert-file", "authority.pem", "--tls-auth-clients", "yes"])
        .args(["--tls-cert-file", "server.pem", "--tls-key-file", "server.key"]);
    let _redis = Process::start(command, &directory.path().join("redis.log"), Signal::KILL);
    let file = |name: &str| directory.path().join(name).display().to_string();
    let [authority, certificate, key] = ["authority.pem", "keepwell.pem", "keepwell.key"].map(file);
    let address = format!("rediss://127.0.0.1:{port}");
    let bench = Bench::new(Dialect::Sqlite).await;

    let known = format!("{address}?sslrootcert={authority}&sslcert={certificate}&sslkey={key}");
    let engine = bench.engine_at(known, |_| {});
    engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
    nothing_owed(&engine).await;
    assert!(engine.health().lanes_ok);
    engine.shutdown().await;

    for stranger in [
        // Nobody vouches for the server; nobody for the engine; and there is no such file.
        format!("{address}?sslcert={certificate}&sslkey={key}"),
        format!("{address}?sslrootcert={authority}"),
        format!("{address}?sslrootcert={authority}.gone"),
    ] {
        let engine = bench.engine_at(stranger, |_| {});
        assert!(engine.lanes().ping().await.is_err());
        // Crises do not depend on it.
        let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id.to_string();
        eventually("the crisis job is done", async || bench.effects().await.contains(&crisis).then_some(()))
            .await;
        engine.shutdown().await;
    }
}
