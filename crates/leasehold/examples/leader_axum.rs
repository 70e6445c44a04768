//! A service of several replicas, of which one leads: `/leader` answers 200 there, and only there.
//!
//! Start it in two terminals, ask each (`curl -i localhost:8081/leader`), and stop the one that leads with Ctrl-C or `kill`:
//! it stops leading, the other leads at once, and only then the first one ends its open requests.
//!
//! ```sh
//! cargo run -p leasehold --features sqlite --example leader_axum -- sqlite:/tmp/leases.db localhost:8081
//! cargo run -p leasehold --features sqlite --example leader_axum -- sqlite:/tmp/leases.db localhost:8082
//! ```

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use leasehold::Term;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, address] = &*args else {
        return Err("usage: leader_axum STORE ADDRESS".into());
    };
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    println!("listening on {address}");
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };

    let leases = leasehold::open(url).await?;
    let election = leases
        .election("examples/leader_axum")
        .period(Duration::from_secs(3))
        .data(address.to_string());

    let candidate = election.clone();
    let leader = async move || match candidate.is_leader() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let app = Router::new()
        .route("/leader", get(leader))
        .route("/echo", post(|body: String| async { body }));

    let lead = async move {
        if let Err(error) = election.lead_until(stop, work).await {
            eprintln!("leads no more: {error}");
        }
        println!("resigned");
    };
    // It serves for as long as it is a candidate. Then no lease is held any more, and open requests are ended.
    axum::serve(listener, app)
        .with_graceful_shutdown(lead)
        .await?;
    leases.shutdown(Duration::from_secs(1)).await?;
    Ok(())
}

/// What only the leader does. It is dropped at its next await when the lease is lost.
async fn work(term: Term) {
    println!("leads with fence {}", term.fence());
    loop {
        // Something, with the fence in each write.
        if term.ending_within(Duration::from_secs(1)).await {
            return;
        }
    }
}
