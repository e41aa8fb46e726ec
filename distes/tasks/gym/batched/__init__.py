"""Episodes in batched simulators, in torch tensors that never leave the device."""
