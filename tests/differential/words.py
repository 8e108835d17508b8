# SPDX-License-Identifier: Apache-2.0
"""The values that a random configuration is made of: mostly plausible ones, and those at the edges of their types."""

TENSOR_NAMES = ("x", "y", "ids", "mask", "INPUT0", "OUTPUT0", "input__0", "output__0", "label", "scores", "a.b", "h w")
DATATYPES = (
    "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8", "TYPE_INT16", "TYPE_INT32",
    "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP32", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16",
)  # fmt: skip
BYTES = {
    "TYPE_BOOL": 1, "TYPE_UINT8": 1, "TYPE_INT8": 1, "TYPE_UINT16": 2, "TYPE_INT16": 2, "TYPE_FP16": 2, "TYPE_BF16": 2,
    "TYPE_UINT32": 4, "TYPE_INT32": 4, "TYPE_FP32": 4, "TYPE_UINT64": 8, "TYPE_INT64": 8, "TYPE_FP64": 8,
    "TYPE_STRING": 4,
}  # fmt: skip
DIMS = (1, 1, 2, 3, 4, 4, 8, 16, -1)
INTEGERS = (0, 0, 1, 1, 2, 3, 4, 5, 7, 8, 9, 16, 64, 65, 100, -1, -2, 1000, 65536, 2**31 - 1, -(2**31))
LONG_INTEGERS = (*INTEGERS, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, -(2**63), 2**63, 2**64 - 1)
FLOATS = (0.0, 1.0, 0.5, -1.0, 1.5, 1e38, -0.0, float("inf"), float("nan"), 1e-30)
STRINGS = (
    "", " ", "x", "y", "model", "0", "1", "-1", "true", "../x", "a/b", "labels.txt", "ä", "long" * 40, "model.onnx",
    "x y", "cpu:0", "..", ".", "%s", "gpu",
)  # fmt: skip
BACKENDS = ("native", "tensorrt", "pytorch", "tensorflow", "openvino", "fil", "dali", "nobody", "identity")
PLATFORMS = (
    "tensorrt_plan", "onnxruntime_onnx", "pytorch_libtorch", "tensorflow_savedmodel", "tensorflow_graphdef", "ensemble",
    "custom", "openvino_model", "torch_aoti", "nobody", "caffe2_netdef", "fil", "dali",
)  # fmt: skip
MODEL_FILES = {
    "fil": ("xgboost.json", "model.txt", "checkpoint.tl", "xgboost.ubj"),
    "openvino": ("model.xml",),
    "pytorch": ("model.pt",),
    "tensorflow": ("model.savedmodel/saved_model.pb", "model.graphdef"),
    "tensorrt": ("model.plan",),
}
PARAMETERS = (
    "intra_op_thread_count", "execution_mode", "model_type", "INFERENCE_MODE", "EXECUTION_ENV_PATH", "storage_type",
    "FORCE_CPU_ONLY_INPUT_TENSORS", "enable_mem_arena", "anything",
)  # fmt: skip
