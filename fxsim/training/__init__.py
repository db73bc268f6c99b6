"""Training in integers: layers, model, loss, update, data, loop. It knows no hardware cost."""
