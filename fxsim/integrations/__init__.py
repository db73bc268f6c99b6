"""What comes in from ONNX, what goes out to TensorBoard and MLflow."""
