"""The TFRecord contract: Example, builder, manifest, pixels (step b), input pipeline."""
