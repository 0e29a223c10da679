"""Launch TensorFlow TF_CONFIG training on machines reached by SSH, or on this one."""

__version__ = "0.1.0"
