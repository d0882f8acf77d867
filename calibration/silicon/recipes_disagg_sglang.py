"""Published disaggregated deployments of SGLang and vLLM; notation and sources as in
:mod:`mltwin.calibration.silicon.recipes_disagg_table`.

Prompt tokens of an iteration are those of the whole worker here: SGLang divides its
``chunked-prefill-size`` by the attention-data-parallel ranks. The low-latency deployments of 2025
are called attention-data parallel beside parameters that are said to do nothing; FP8 weights
would not fit so, and the next version has them tensor parallel: so they are here.
"""

from .recipes_disagg_table import KIMI, LONG, PROMPTED, R1, SHORT, Block

SGLANG: tuple[Block, ...] = (
    ("sglang", R1, "b200_sxm", "fp4", *SHORT, "2026-01-01", 32768, """
16 128: 1dep4 5tep8 b512 @runtime
32 64 256: 1dep4 6tep8 b512 @runtime
512: 1dep4 1dep8 b512 @runtime
512: 1dep4 2dep8 b512 @runtime
16 512: 1dep4 5tep8 b512 m2 @cu130
32 64 256 512: 1dep4 6tep8 b512 m2 @cu130
512 1024: 1dep4 1dep8 b512 m2 @cu130
512: 1dep4 2dep8 b512 m2 @cu130"""),
    ("sglang", R1, "b200_sxm", "fp4", *PROMPTED, "2026-01-01", 32768, """
64 128: 1dep4 1tep8 @runtime
8: 1dep4 5tep8 @runtime
4 128: 2dep4 5tep8 @runtime
4 8 16 64: 1tp4 1tp8 @runtime
1024 2048: 7dep4 2dep8 @runtime
64 128: 1dep4 1tep8 m2 @cu130
8: 1dep4 5tep8 m2 @cu130
4 128: 2dep4 5tep8 m2 @cu130
4 8 16 64: 1tp4 1tp8 m2 @cu130"""),
    ("sglang", R1, "b200_sxm", "fp8", *SHORT, "2026-01-01", 32768, """
4: 1tep8 1tep8 b512
16 32 64 128 256: 1tep8 3tep8 b512
1024 2048 4096: 1dep8 5dep8 b512
2048 4096: 2dep8 5dep8 b512
4 64: 1tep8 1tep8 b512 m2
4 8 16 32 128: 1tep8 3tep8 b512 m2
512 4096: 1dep8 5dep8 b512 m2
1024 2048 4096: 2dep8 5dep8 b512 m2
512 1024 2048: 1dep8 2dep8 b512 m2"""),
    ("sglang", R1, "b200_sxm", "fp8", *PROMPTED, "2026-01-01", 65536, """
4 32 64 512: 1tep8 1tep8
64 512: 1tep8 4tep8
32: 1tep8 6tep8
128 512 1024: 1dep8 1dep8
256 512 1024: 2dep8 1dep8
16 32 64: 1tep8 1tep8 m2
8 256: 1tep8 4tep8 m2
4 8 16 256: 1tep8 6tep8 m2
256: 1dep8 1dep8 m2
128 512: 2dep8 1dep8 m2"""),
    ("sglang", R1, "b200_sxm", "fp8", *PROMPTED, "2026-03-01", 65536, """
128: 1dp8 3tp8
128: 1dp8 4tp8
8 16 32 64 128: 1dp8 6tp8 b22
288: 1dp8 2dep8
160 288: 1dp8 1dep8
512: 2dp8 1dep8
1024: 3dp8 1dep8
128: 1dp8 3tp8 m2
128: 1dp8 4tp8 m2
8 16 32 64 128: 1dp8 6tp8 b22 m2
288: 1dp8 2dep8 m2
160 288: 1dp8 1dep8 m2
512: 2dp8 1dep8 m2
1024: 3dp8 1dep8 m2"""),
    ("sglang", R1, "gb200", "fp4", *SHORT, "2025-09-01", 65536, """
4 8 32 64: 1tp4 2tp4
512 1024 2048 4096 8192: 4dep4 1dep48
8192 12000 15000: 4dep4 1dep32"""),
    ("sglang", R1, "gb200", "fp4", *PROMPTED, "2025-09-01", 65536, """
4 8 32 64: 1tp4 4tp4
512 1024 2048 4096: 6tp4 1dep48
1024 2048 8192: 10dep4 1dep32"""),
    ("sglang", R1, "gb200", "fp4", *SHORT, "2026-01-15", 65536, """
4 8 32: 1tp4 2tp4
512 2048 4096 8192: 4dep4 1dep32
2048 4096: 4dep4 1dep48"""),
    ("sglang", R1, "gb200", "fp4", *PROMPTED, "2026-01-15", 65536, """
4 8: 1tp4 4tp4
512 2048 4096: 6tp4 1dep48
2048: 10tp4 1dep32"""),
    ("sglang", R1, "gb200", "fp8", *SHORT, "2025-09-01", 131072, """
1024 2048 4096 4608 4864 4992 5120 5376 5632 6144 8192: 3dep8 1dep48
4096: 2dep8 1dep32
2 4 8 16 64 128: 1tp4 4tp4"""),
    ("sglang", R1, "gb200", "fp8", *PROMPTED, "2025-09-01", 131072, """
128 256 384 448 512 576 1024 2048 4096: 6dep8 1dep24"""),
    ("sglang", R1, "gb200", "fp8", *PROMPTED, "2025-12-20", 131072, """
4 8 16 32: 1tp4 1tp4
512 1024 2048 6144: 5dep8 1dep32"""),
    ("sglang", R1, "gb200", "fp8", *SHORT, "2026-01-15", 131072, """
4 8: 1tp4 1tp4
1024 2048 4096: 3dep8 1dep48
1024 2048 4096 6144: 2dep8 1dep32
4096: 1dep8 1dep8"""),
    ("sglang", R1, "gb200", "fp8", *PROMPTED, "2026-01-15", 131072, """
4 8 16: 1tp8 1tp8
512 1024 2048 6144: 5dep8 1dep32
2048 4096 6144: 6dep8 1dep24"""),
    ("sglang", R1, "h100_sxm", "fp8", *SHORT, "2026-01-01", 2048, """
1 2 4 8 16 32 64 128: 1tp16 2tp16 b128 m2
1 2 4 8 16 32 64: 1tp16 1dep16 m2"""),
    ("sglang", R1, "h100_sxm", "fp8", *LONG, "2026-01-01", 2048, """
1 2 4 8 16 32 64: 1tp16 2tp16 m2
1 2 4 8 16 32 64: 1tp16 1dep16 m2"""),
    ("sglang", R1, "h100_sxm", "fp8", *PROMPTED, "2026-01-01", 2048, """
1 2 4 8 16 32 64 128: 1tp16 1tp16 m2
1 2 4 8 16 32 64: 1tp16 1dep16 m2"""),
    ("sglang", R1, "h200_sxm", "fp8", *SHORT, "2026-01-01", 163840, """
1 4 8 16 32 64 128 256: 1tp8 9tp8 b64
512 1024 2048: 1tp8 6tp8
128 256 512 1024 2048: 1dep8 6dep8
1 4 8 16 32 64 128 256: 1tp8 9tp8 b64 m2
512 1024 2048: 1tp8 6tp8 m2
128 256 512 1024 2048: 1dep8 6dep8 m2"""),
    ("sglang", R1, "h200_sxm", "fp8", *PROMPTED, "2026-01-01", 163840, """
1 4 8: 1tp8 7tp8
4 8 16: 1tp8 6tp8
8 16 32: 1tp8 3tp8
32 64 128: 2tp8 3tp8
64 128 256: 1tp8 1dep8
1 4 8: 1tp8 7tp8 m2
2 4 8 16 32: 1tp8 6tp8 m2
4 8 16 32 64: 1tp8 3tp8 m2
32 64 128: 2tp8 3tp8 m2
32 64 128 256 512: 1tp8 1dep8 b24 m2"""),
    ("vllm", KIMI, "gb200", "fp4", *SHORT, "2026-03-01", 16384, """
256 512 1024 2048 3072 4096: 1dep4 1dep16
4 8 16 32 64 128: 1dep4 4tep4"""),
    ("vllm", KIMI, "gb200", "fp4", *PROMPTED, "2026-03-01", 16384, """
4 8 16 32 128: 1dep4 4tep4
512 1024: 3dep4 1dep16
2048: 5dep4 1dep8
3072 4096: 6dep4 1dep16"""),
)  # fmt: skip
