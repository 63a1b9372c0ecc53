"""The TFRecord format: Example, builder, manifest, pixels (step b), input pipeline."""
