"""What `benches/run` measures with: one module per figure. Linux, loopback, no root."""
