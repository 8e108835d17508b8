import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Answers every request with its input."""

    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", self._input(request))]) for request in requests]

    @staticmethod
    def _input(request):
        return pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
