//! What the server makes of a real Kubernetes API: whichever KUBECONFIG names, in the namespace of its current context.
//!
//! `FRAY_TEST_CLUSTER=1` runs them; else they are skipped, and say so. What they make begins with `fray-test-` and is
//! removed at the end. No pod runs: endpoints are written by hand, so that they are what a test is about.

mod cluster;
mod endpoints;
mod ready;
mod secret;
mod told;
