"""Callbacks for experiment trackers, each on its own client: MLflow, Weights & Biases, TensorBoard.

Import the module of the tracker that you use, such as `streamnet.tracking.mlflow`.
"""
