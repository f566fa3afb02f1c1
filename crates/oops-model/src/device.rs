//! Devices of the tensor library.

use candle_core::Device;
use oops_core::{Fault, Result};

/// Opens the first device of a kind.
///
/// A fault of the class `Device` where this build has no support for it (features `cuda`, `metal`), or the machine no such
/// device.
pub fn open_device(kind: oops_core::Device) -> Result<Device> {
    let (opened, built) = match kind {
        oops_core::Device::Cpu => return Ok(Device::Cpu),
        oops_core::Device::Cuda => (Device::new_cuda(0), candle_core::utils::cuda_is_available()),
        oops_core::Device::Metal => (Device::new_metal(0), candle_core::utils::metal_is_available()),
    };
    let name = kind.name();
    opened.map_err(|e| {
        if built {
            return Fault::device(format!("the device `{name}` cannot be opened: {e}"));
        }
        Fault::device(format!("this build has no support for the device `{name}`")).help(format!(
            "`cargo build --release --features oops-cli/{name}` builds with it; `device: cpu` does without"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_memory_is_always_there_and_others_only_in_builds_with_them() {
        assert!(open_device(oops_core::Device::Cpu).unwrap().is_cpu());
        if !candle_core::utils::cuda_is_available() {
            let fault = open_device(oops_core::Device::Cuda).unwrap_err();
            assert_eq!(fault.class(), oops_core::Class::Device);
            assert!(fault.to_string().contains("no support for the device `cuda`"), "{fault}");
        }
    }
}
