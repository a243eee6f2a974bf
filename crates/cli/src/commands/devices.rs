//! `kappa devices`.

use crate::{backend, output::say};

pub fn run() {
    say(format_args!("backends in this build: {}", backend::listed()));
    #[cfg(feature = "wgpu")]
    adapters();
}

#[cfg(feature = "wgpu")]
fn adapters() {
    let adapters = backend::adapters();
    if adapters.is_empty() {
        say(format_args!("no GPU adapter found; --backend auto computes on the CPU"));
    }
    for adapter in adapters {
        let (info, limits) = (&adapter.info, &adapter.limits);
        say(format_args!("{}", info.name));
        let software = if adapter.is_software() { " (software: auto leaves it aside)" } else { "" };
        say(format_args!("  type                          {:?}{software}", info.device_type));
        say(format_args!(
            "  driver                        {:?}, {} {}",
            info.backend, info.driver, info.driver_info
        ));
        say(format_args!(
            "  storage binding               {} MiB",
            limits.max_storage_buffer_binding_size >> 20
        ));
        say(format_args!("  buffer                        {} MiB", limits.max_buffer_size >> 20));
        say(format_args!("  storage buffers a stage       {}", limits.max_storage_buffers_per_shader_stage));
        say(format_args!("  invocations a workgroup       {}", limits.max_compute_invocations_per_workgroup));
        say(format_args!(
            "  memory of a workgroup         {} KiB",
            limits.max_compute_workgroup_storage_size >> 10
        ));
        say(format_args!("  workgroups along a dimension  {}", limits.max_compute_workgroups_per_dimension));
    }
}
