"""CPU or CUDA through PyTorch: eager calls, and on CUDA the same calls replayed from a graph.

A graph holds up to 64 calls on different copies of the weights (or of the KV cache), so that
they come from memory rather than from a cache that the last call filled, as in serving, where all
other layers pass between two uses of one weight. Activations stay hot, as there.
"""

import platform
import subprocess
import time
from collections.abc import Callable
from typing import Any

from mltwin.sim.errors import InputError

from .numpy_backend import cpu_device
from .points import Point
from .timing import Sampler
from .torch_calls import CallMaker, Rotating

MAX_UNROLL = 64


def import_torch() -> Any:
    """PyTorch, or one clear error.

    Raises:
        InputError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise InputError(
            "PyTorch is not installed", mend="pip install 'mltwin[measure]', or --backend numpy"
        ) from None
    return torch


class TorchBackend:
    """Times points with PyTorch.

    Args:
        device: ``cpu`` or ``cuda``.
        graphs: replay CUDA graphs (``name`` is then ``torch-graph``, else ``torch``).
        seed: of the inputs.

    Raises:
        InputError: no PyTorch, no such device, or graphs on the CPU.
    """

    def __init__(self, device: str, *, graphs: bool = False, seed: int = 0) -> None:
        self.torch = import_torch()
        if device == "cuda" and not self.torch.cuda.is_available():
            raise InputError("PyTorch sees no CUDA device", mend="use --device cpu")
        if graphs and device != "cuda":
            raise InputError("graphs need CUDA", mend="leave them off on the CPU")
        self.kind, self.graphs = device, graphs
        self.name = "torch-graph" if graphs else "torch"
        self.torch.manual_seed(seed)
        self.calls = CallMaker(self.torch, device, self._cold_bytes())

    def _cold_bytes(self) -> int:
        if self.kind != "cuda":
            return 64 * 2**20
        return 3 * int(self.torch.cuda.get_device_properties(0).L2_cache_size)

    def device(self) -> dict[str, Any]:
        """Kind, name, count and what CUDA says of the GPU (or the processor)."""
        if self.kind == "cpu":
            return cpu_device() | {"threads": self.torch.get_num_threads()}
        properties = self.torch.cuda.get_device_properties(0)
        return {
            "kind": "cuda",
            "name": properties.name,
            "count": self.torch.cuda.device_count(),
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "l2_bytes": int(properties.L2_cache_size),
            "capability": f"{properties.major}.{properties.minor}",
            "processor": cpu_device()["name"],
        }

    def software(self) -> dict[str, Any]:
        """Versions of Python, PyTorch and, on CUDA, of its libraries and the driver."""
        found = {"python": platform.python_version(), "torch": str(self.torch.__version__)}
        if self.kind == "cuda":
            found["cuda"] = str(self.torch.version.cuda)
            found["cudnn"] = str(self.torch.backends.cudnn.version())
            found["nccl"] = ".".join(str(part) for part in self.torch.cuda.nccl.version())
            found["driver"] = _driver()
        return found

    def prepare(self, point: Point) -> Sampler | None:
        """A sampler of the point, or None where this device or library cannot run it."""
        if self.kind == "cuda":
            self.torch.cuda.empty_cache()
        try:
            call = self.calls.make(point)
            if call is None:
                return None
            call(0)
            self._wait()
            return self._graph_sampler(call) if self.graphs else self._eager_sampler(call)
        except (RuntimeError, NotImplementedError, ValueError, TypeError):
            # A kernel that this GPU, format or size does not have; the point is recorded as
            # skipped. CUDA errors that poison the context show up in the next point's wait.
            self._wait()
            return None

    def _wait(self) -> None:
        if self.kind == "cuda":
            self.torch.cuda.synchronize()

    def _eager_sampler(self, call: Rotating) -> Sampler:
        if self.kind == "cpu":

            def sample_cpu(calls: int) -> float:
                start = time.perf_counter()
                for i in range(calls):
                    call(i)
                return time.perf_counter() - start

            return sample_cpu
        return self._timed_by_events(lambda calls: [call(i) for i in range(calls)])

    def _graph_sampler(self, call: Rotating) -> Sampler | None:
        torch = self.torch
        unroll = max(1, min(MAX_UNROLL, call.copies))
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for i in range(min(unroll, 3)):
                call(i)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(unroll):
                call(i)

        def replay(calls: int) -> None:
            for _ in range(-(-calls // unroll)):
                graph.replay()

        timed = self._timed_by_events(replay)

        def sample(calls: int) -> float:
            done = -(-calls // unroll) * unroll
            return timed(calls) * calls / done

        return sample

    def _timed_by_events(self, work: Callable[[int], Any]) -> Sampler:
        torch = self.torch

        def sample(calls: int) -> float:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work(calls)
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end)) * 1e-3

        return sample


def _driver() -> str:
    """The NVIDIA driver's version, or ``unknown``."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.splitlines()[0].strip() if done.stdout.strip() else "unknown"
