"""From ONNX, and QONNX's bit-widths, to a workload."""
