//! `kappa devices`.

use crate::backend;

pub fn run() {
    println!("backends in this build: {}", backend::compiled_in().join(", "));
    #[cfg(feature = "wgpu")]
    adapters();
}

#[cfg(feature = "wgpu")]
fn adapters() {
    let adapters = backend::adapters();
    if adapters.is_empty() {
        println!("no GPU adapter found; --backend auto computes on the CPU");
    }
    for adapter in adapters {
        let (info, limits) = (&adapter.info, &adapter.limits);
        println!("{}", info.name);
        let software = if adapter.is_software() { " (software: auto leaves it aside)" } else { "" };
        println!("  type                          {:?}{software}", info.device_type);
        println!("  driver                        {:?}, {} {}", info.backend, info.driver, info.driver_info);
        println!("  storage binding               {} MiB", limits.max_storage_buffer_binding_size >> 20);
        println!("  buffer                        {} MiB", limits.max_buffer_size >> 20);
        println!("  storage buffers a stage       {}", limits.max_storage_buffers_per_shader_stage);
        println!("  invocations a workgroup       {}", limits.max_compute_invocations_per_workgroup);
        println!("  memory of a workgroup         {} KiB", limits.max_compute_workgroup_storage_size >> 10);
        println!("  workgroups along a dimension  {}", limits.max_compute_workgroups_per_dimension);
    }
}
