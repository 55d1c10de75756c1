"""Models that `charrnn.pretrained` loads: NAME.safetensors, its card NAME.md, and SHA256SUMS."""
