"""Published disaggregated deployments, as facts in a notation of our own.

Sources, all Apache-2.0; only how servers were started was read, no result:

- InferenceX (once InferenceMAX), ``.github/configs/nvidia-master.yaml`` at
  SemiAnalysisAI/InferenceX 0004cf5f (February 2026), InferenceMAX/InferenceMAX 525079ad
  (January 2026) and xiaohuguo2023/InferenceX 18621a5e (May 2026), and the shell script of
  November 2025 that drove ``submit_disagg.sh`` in ai-dynamo/dynamo release/0.5.1-rc0.20251105;
- srt-slurm recipes named there: connorcarpenter15/srt-slurm 5a156f6b, ishandhanani/srt-slurm
  893b9b9a, NVIDIA/srt-slurm 10b37984 and adf51d1b (GLM-5).

A block is (engine, model, system, precision, prompt, output, first day, prompt tokens of one
prefill iteration and rank, lines); the last block of a family that starts no later than a run
holds for it. A line is ``concurrencies: prefill decode [bN] [mN]``: workers as count, kind and
GPUs (``tp``: tensor parallel; ``tep``: tensor parallel, experts spread; ``dp``: attention-data
parallel, experts split; ``dep``: attention-data parallel, experts spread), most sequences of a
decode rank, draft tokens of multi-token prediction. What a source does not say is left out.
"""

R1, OSS, KIMI, GLM = "deepseek-r1", "gpt-oss-120b", "kimi-k2.5", "glm-5"
Block = tuple[str, str, str, str, int, int, str, int, str]

# One more column would not fit: most InferenceX blocks are 1k/1k, 8k/1k, 1k/8k.
SHORT, PROMPTED, LONG = (1024, 1024), (8192, 1024), (1024, 8192)

TRTLLM: tuple[Block, ...] = (
    ("trtllm", R1, "b200_sxm", "fp4", *SHORT, "2026-01-01", 10240, """
1214: 1dep4 2dep8 b64 m2
875: 1dep4 5dep8 b16 m3
6: 1dep4 5tep8 b1 m3
10 15 25 45 90 180: 1dep4 5tep8 b32 m3
4968: 3dep4 4dep8 b128 m1
10860: 3dep4 5dep4 b512 m1
4096: 1dep4 1dep8 b512
2192: 1dep4 2dep8 b128
1365: 1dep4 5dep8 b32
6: 1dep4 5tep8 b1
10 15 25 45 90 180: 1dep4 5tep8 b32
450: 1dep4 6tep8 b64"""),
    ("trtllm", R1, "b200_sxm", "fp4", *PROMPTED, "2026-01-01", 16640, """
90: 1dep4 1dep8 b8 m3
66: 1dep4 3tep8 b16 m3
6: 1dep4 5tep8 b1 m3
10 15 30 60: 1dep4 5tep8 b8 m3
548: 3dep4 1dep8 b64 m3
1096 1691: 5dep4 1dep8 b192 m1
658: 5dep4 2dep8 b32 m3
6: 1dep4 5tep8 b1
10 15 25 50 100: 1dep4 5tep8 b8
370: 2dep4 5tep8 b64
1606: 4dep4 1dep8 b192
837: 4dep4 3dep8 b32
2222: 7dep4 2dep8 b128"""),
    ("trtllm", R1, "b200_sxm", "fp8", *SHORT, "2026-01-01", 16384, """
8: 1dep8 8tp8 b1 m3
32: 1dep8 8tp8 b4 m3
64: 1dep8 8tp8 b8 m3
256: 1dep8 8tp8 b32 m3
896: 1dep8 7dep8 b128 m3
1024: 1dep8 4dep8 b256 m3
1184: 1dep8 3dep8 b384 m3
1600: 1dep8 2dep8 b768 m2
4 32 128: 1dep8 3tp8 b1024
1920: 1dep8 5dep8 b48
4096: 1dep8 1dep8 b512
5152: 2dep8 5dep8 b128"""),
    ("trtllm", R1, "b200_sxm", "fp8", *PROMPTED, "2026-01-01", 8320, """
8: 1dep8 6tp8 b8 m3
8: 1dep8 2tp8 b32 m3
48: 1dep8 6tp8 b8 m3
64: 1dep8 4tp8 b16 m3
224: 2dep8 3dep8 b8 m3
288: 2dep8 1dep8 b32 m3
1088: 4dep8 1dep8 b128 m2
1: 1dep8 1tp8 b1
32 128: 1dep8 4tp8 b32
96: 1dep8 6tp8 b16
128: 1dep8 1dep8 b128
128: 1dep8 2dep8 b64
256: 1dep8 1dep8 b256
640: 2dep8 1dep8 b640"""),
    ("trtllm", R1, "b200_sxm", "fp8", *PROMPTED, "2026-03-01", 8320, """
8: 1dp8 6tp8 b8 m3
8: 1dp8 2tp8 b32 m3
48: 1dp8 6tp8 b8 m3
64: 1dp8 4tp8 b16 m3
224: 2dp8 3dep8 b8 m3
288: 2dp8 1dep8 b32 m3
1088: 4dp8 1dep8 b128 m2
1: 1tp8 1tp8 b1
32 128: 1dp8 4tp8 b32
96: 1dp8 6tp8 b16
128: 1dp8 1dep8 b128
128: 1dp8 2dep8 b64
256: 1dp8 1dep8 b256
640: 2dp8 1dep8 b640"""),
    ("trtllm", R1, "b300_sxm", "fp4", *SHORT, "2026-01-01", 10240, """
654: 1dep2 1dep8 b64 m3
271: 1dep2 2dep8 b16 m3
11: 1dep2 5tep8 b1 m3
10 20 25 60 120 200: 1dep2 5tep8 b32 m3
2342: 2dep2 1dep8 b256 m1
8609: 5dep2 2dep8 b512 m1
12926: 5dep2 2dep8 b768 m1
1176: 1dep2 2dep8 b64
6: 1dep2 4tep8 b1
5 10 15 25: 1dep2 5tep4 b4
60 110 195 395: 1dep2 5tep8 b64
4405: 2dep2 1dep8 b512
8192: 3dep2 1dep8 b1024
4611: 3dep2 2dep8 b256"""),
    ("trtllm", R1, "b300_sxm", "fp4", *PROMPTED, "2026-01-01", 16640, """
2198: 10dep2 1dep8 b256 m1
52: 1dep2 4tep4 b8 m3
8: 1dep2 4tep8 b1 m3
32: 1dep2 4tep8 b4 m3
181: 3dep2 1dep8 b16 m3
1197: 9dep2 1dep8 b128 m1
105: 1dep2 3tep4 b32
63: 1dep2 3tep8 b16
4: 1dep2 3tep8 b1
12: 1dep2 4tep4 b2
589: 5dep2 2dep8 b32
1093: 6dep2 1dep8 b128
2048: 8dep2 1dep8 b256"""),
    ("trtllm", R1, "b300_sxm", "fp8", *SHORT, "2026-01-01", 16384, """
10: 1dp4 8tp8 b1 m3
160: 1dp4 8tp8 b16 m3
3072: 1dp4 1dp8 b256 m1
2560: 1dp4 2dep8 b128 m1
720: 1dp4 5dep8 b16 m2
11264: 3dp4 2dp8 b512 m1
2112: 1dp4 1dep8 b256
3072: 1dp4 2dp8 b128
1280: 1dp4 3dp8 b48
12 128 384: 1dp4 8tp8 b64
16384: 2dp4 1dp8 b1024"""),
    ("trtllm", R1, "b300_sxm", "fp8", *PROMPTED, "2026-01-01", 8320, """
40: 1dp4 2tp8 b16 m3
8: 1dp4 4tp8 b1 m3
20: 1dp4 4tp8 b4 m3
72: 1dp4 1dp8 b8 m3
144: 2dp4 1dp8 b16 m3
512: 4dp4 1dp8 b64 m2
64: 1dp4 4tp8 b16
16: 1dp4 8tp8 b2
256: 2dp4 1dp8 b32
512: 3dp4 1dp8 b64
256: 3dp4 5tp8 b64
1075: 5dp4 1dp8 b128
3072: 7dp4 1dep8 b384"""),
    # Concurrency is a client's for each decode worker, so times their number.
    ("trtllm", R1, "gb200", "fp4", *SHORT, "2025-09-01", 4608, """
4 8 16 32 64 144: 1tep4 4tep8 b32 m3
512 1075: 1dep4 1dep16 b64 m3
2150: 2dep4 1dep16 b128 m1
512: 1dep4 1dep32 b16 m3
2252: 1dep4 1dep8 b256 m1
4 8 16 32 64 128 256 564: 1tep4 4tep8 b128
1075: 1dep4 1dep32 b32
1075: 1dep4 1dep16 b64
2048 4300: 2dep4 1dep16 b256
4300: 1dep4 1dep8 b512"""),
    ("trtllm", R1, "gb200", "fp4", *PROMPTED, "2025-09-01", 8448, """
3 6 12 24 54: 1tep4 3tep8 b16 m3
128 269: 5dep4 1dep32 b8 m3
538: 8dep4 1dep32 b16 m3
1075: 8dep4 1dep16 b64 m2
2150: 6dep4 1dep8 b256 m1
3 6 12 24 48 102: 1tep4 3tep8 b32
256 538: 4dep4 1dep32 b16
1075: 6dep4 1dep16 b64
2150: 8dep4 1dep16 b128
2150: 5dep4 1dep8 b256"""),
    ("trtllm", R1, "gb200", "fp4", *SHORT, "2026-01-15", 10240, """
180: 1dep4 1dep32 b4 m3
4 8 12 24 48: 1dep4 4tep8 b8 m3
4301: 2dep4 1dep16 b256 m1
2253: 3dep4 1dep32 b64 m1
16130: 3dep4 5dep4 b768 m1
4301: 1dep4 1dep8 b512
666: 1dep4 1dep32 b16
6144: 1dep4 2dep4 b768
12 24 48 96 192: 1dep4 4tep8 b32
5: 1dep4 4tep8 b1
4301: 2dep4 1dep16 b256
2253: 2dep4 1dep32 b64"""),
    ("trtllm", R1, "gb200", "fp4", *LONG, "2026-01-15", 10240, """
4 8 12 24 28 48: 1dep4 7tep8 b4 m3
7: 1dep4 7tep8 b1 m3
128: 1dep4 1dep32 b4 m3
512: 1dep4 1dep32 b16 m3
3072: 1dep4 3dep16 b64 m3
6144: 1dep4 3dep16 b128 m1
8192: 1dep4 1dep32 b256 m1
5 7: 1dep4 7tep8 b1
60: 1dep4 15tep4 b4
135: 1dep4 15tep4 b8
563: 1dep4 1dep32 b16
2048: 1dep4 1dep32 b64
4096: 1dep4 1dep32 b128
8192: 1dep4 1dep32 b256"""),
    ("trtllm", R1, "gb200", "fp4", *PROMPTED, "2026-01-15", 16640, """
4 8 12 24 48: 1dep4 4tep8 b8 m3
180: 3dep4 1dep32 b4 m3
1229: 7dep4 1dep16 b64 m1
666: 8dep4 1dep32 b16 m3
4301: 11dep4 1dep16 b256 m1
12 44 76: 1dep4 4tep8 b16
5: 1dep4 4tep8 b1
333: 2dep4 1dep32 b8
1229: 7dep4 1dep32 b32
2253: 8dep4 1dep16 b128
4096: 10dep4 1dep16 b256"""),
    ("trtllm", R1, "gb200", "fp8", *SHORT, "2026-01-01", 16384, """
4301: 1dep8 1dep8 b512 m1
2151: 1dep8 1dep8 b256 m1
1229: 1dep8 1dep16 b64 m1
615: 1dep8 1dep32 b16 m3
36: 1dep8 3tep8 b8 m3
18: 1dep8 3tep8 b4 m3
9: 1dep8 3tep8 b2 m3
6144: 1dep8 1dep8 b768
4301: 1dep8 1dep8 b512
2151: 1dep8 1dep16 b128
1127: 1dep8 1dep32 b32
256: 1dep8 1dep32 b8
27: 1dep8 3tep8 b8
3: 1dep8 3tep8 b1"""),
    ("trtllm", R1, "gb200", "fp8", *LONG, "2026-01-01", 16384, """
8192: 1dep8 2dep16 b256 m1
2152: 1dep8 2dep16 b64 m1
564: 1dep8 1dep32 b16 m3
72: 1dep8 1dep32 b2 m3
4 8: 1dep8 4tep8 b2 m3
8192: 1dep8 2dep16 b256
2048: 1dep8 1dep32 b64
564: 1dep8 1dep32 b16
36: 1dep8 4tep8 b8
4: 1dep8 4tep8 b1"""),
    ("trtllm", R1, "gb200", "fp8", *PROMPTED, "2026-01-01", 8320, """
666: 3dep8 1dep8 b64 m3
666: 5dep8 1dep16 b32 m3
333: 3dep8 1dep16 b16 m3
333: 4dep8 1dep32 b8 m3
90: 2dep8 1dep32 b2 m3
15: 1dep8 3tep8 b4 m3
6: 1dep8 3tep8 b2 m3
1229: 5dep8 1dep16 b64
666: 4dep8 1dep32 b16
615: 3dep8 1dep16 b32
333: 2dep8 1dep32 b8
63: 1dep8 3tep8 b16
18: 1dep8 3tep8 b4
6: 1dep8 3tep8 b1"""),
    ("trtllm", R1, "h100_sxm", "fp8", *SHORT, "2026-01-01", 2048, """
6: 1dep16 3tep16 b1 m3
9: 1dep16 3tep16 b2 m3
30: 1dep16 3tep16 b8 m3
60: 1dep16 3tep16 b16 m3
117: 1dep16 3tep16 b32 m3
231: 1dep16 3dep16 b4 m3
462: 1dep16 3tep16 b128 m3
615: 1dep16 1dep16 b32 m2
1229: 1dep16 1dep16 b64 m1
6: 1dep16 3tep16 b1
9: 1dep16 3tep16 b2
30: 1dep16 3tep16 b8
60: 1dep16 3tep16 b16
231: 1dep16 3dep16 b4
462: 1dep16 3dep16 b8
924: 1dep16 3dep16 b16
1845: 1dep16 3dep16 b32
4916: 2dep16 1dep16 b256"""),
    ("trtllm", R1, "h100_sxm", "fp8", *PROMPTED, "2026-01-01", 8448, """
6: 1dep16 3tep16 b1 m3
9: 1dep16 3tep16 b2 m3
30: 1dep16 3tep16 b8 m3
77: 1dep16 1dep16 b4 m3
154: 2dep16 1dep16 b8 m3
6: 1dep16 3tep16 b1
9: 1dep16 3tep16 b2
30: 1dep16 3tep16 b8
154: 1dep16 2tep16 b64
308: 2dep16 1dep16 b16"""),
    # Concurrency: the recipe's times the decode workers (two more for the smallest).
    ("trtllm", R1, "h200_sxm", "fp8", *SHORT, "2026-01-01", 8192, """
13: 1dep8 11tep8 b1 m3
44 88: 1tep8 11tep8 b128 m3
144: 1tep8 9tep8 b128 m3
352: 1tep8 11tep8 b128 m3
512: 1dep8 8dep8 b128 m3
896: 1dep8 7dep8 b128 m3
1024: 1dep8 4dep8 b128 m3
1024: 1dep8 2dep8 b256 m1
11: 1dep8 9tep8 b1
36 72 144 288 576: 1tep8 9tep8 b256
1152: 1dep8 9dep8 b512
1536: 1dep8 6dep8 b512
3584: 2dep8 7dep8 b512"""),
    ("trtllm", R1, "h200_sxm", "fp8", *SHORT, "2026-03-01", 8192, """
13: 1dep8 11tep8 b1 m3
44 88: 1dep8 11tep8 b128 m3
144: 1dep8 9tep8 b128 m3
352: 1dep8 11tep8 b128 m3
512: 1dep8 8dep8 b128 m3
896: 1dep8 7dep8 b128 m3
1024: 1dep8 4dep8 b128 m3
1024: 1dep8 2dep8 b256 m1
11: 1dep8 9tep8 b1
36 72 144 288 576: 1dep8 9tep8 b256
1152: 1dep8 9dep8 b512
1536: 1dep8 6dep8 b512
3584: 2dep8 7dep8 b512"""),
    ("trtllm", R1, "h200_sxm", "fp8", *PROMPTED, "2026-01-01", 8448, """
9: 1tep8 7tep8 b1 m3
28: 1tep8 7tep8 b32 m3
48: 1tep8 6tep8 b32 m3
48: 1tep8 3tep8 b32 m2
160: 3tep8 5tep8 b32 m3
64: 1dep8 1dep8 b32 m2
128: 2dep8 1dep8 b32 m2
256: 3dep8 1dep8 b32 m2
512: 3dep8 1dep8 b64 m1
9: 1tep8 7tep8 b1
28: 1tep8 7tep8 b32
48: 1tep8 6tep8 b16
48: 1tep8 3tep8 b32
160: 2tep8 5tep8 b128
192: 2dep8 3dep8 b128
128: 1dep8 1dep8 b256
768: 5dep8 3dep8 b256
512: 3dep8 1dep8 b512"""),
    ("trtllm", R1, "h200_sxm", "fp8", *PROMPTED, "2026-03-01", 8448, """
9: 1tep8 7tep8 b1 m3
28: 1tep8 7tep8 b32 m3
48: 1tep8 6tep8 b32 m3
48: 1tep8 3tep8 b32 m2
160: 3tep8 5tep8 b32 m3
64: 1tep8 1dep8 b32 m2
128: 2tep8 1dep8 b32 m2
256: 3tep8 1dep8 b32 m2
512: 3tep8 1dep8 b64 m1
9: 1tep8 7tep8 b1
28: 1tep8 7tep8 b32
48: 1tep8 6tep8 b16
48: 1tep8 3tep8 b32
160: 2tep8 5tep8 b128
192: 2tep8 3dep8 b128
128: 1tep8 1dep8 b256
768: 5tep8 3dep8 b256
512: 3tep8 1dep8 b512"""),
    ("trtllm", OSS, "gb200", "fp4", *SHORT, "2025-09-01", 20000, """
1 2 4 16 32 64 128: 1tp1 1tp4 b256
16: 1tp1 4tp2 b32
256 512 1024 2048 2560: 1tp1 1dep2 b1536
512 1024 2048 2560: 1tp1 2dep2 b1536
256 1024 1536: 1tp1 1dep4 b512
3072: 1tp1 3dep4 b1024"""),
    ("trtllm", OSS, "gb200", "fp4", *PROMPTED, "2025-09-01", 20000, """
1: 1tp1 1tp8 b4
2 4 8 16 32 64: 1tp1 1tp4 b128
128 512: 2tp1 1tp4 b1024
256 384: 2tp1 1tp2 b512
128 512: 2tp1 1dep2 b512"""),
    ("trtllm", KIMI, "gb200", "fp4", *SHORT, "2026-03-01", 16640, """
4 192 360 668: 1dep4 4tep8 b128
5 15 30 55: 1dep4 5tep4 b8
666: 1dep4 1dep16 b32
2253: 1dep4 1dep32 b64
4301 6452: 1dep4 1dep8 b768
4301: 2dep4 1dep16 b256
4301: 2dep4 1dep32 b128"""),
    ("trtllm", KIMI, "gb200", "fp4", *PROMPTED, "2026-03-01", 16640, """
4: 1dep4 4tep8 b1
156: 1dep4 4tep4 b32
5 15 30 60 105: 1dep4 5tep4 b16
333: 2dep4 1dep16 b16
615: 3dep4 1dep16 b32
2151: 5dep4 1dep8 b256
2253: 7dep4 1dep16 b128"""),
    ("trtllm", GLM, "gb200", "fp4", *SHORT, "2026-03-01", 16640, """
4 180 360 616: 1dep4 4tep8 b128
5 15 30 50: 1dep4 5tep4 b8
1229: 1dep4 1dep32 b32
2253: 2dep4 1dep32 b64
2253: 2dep4 1dep16 b128
8192: 4dep4 1dep32 b256
8192: 2dep4 1dep16 b512"""),
    ("trtllm", GLM, "gb200", "fp4", *PROMPTED, "2026-03-01", 16640, """
5 10 25 50: 1dep4 5tep4 b8
84: 1dep4 2tep8 b32
117: 1dep4 3tep4 b32
615: 4dep4 1dep32 b16
1229: 6dep4 1dep32 b32
2253: 9dep4 1dep16 b128"""),
)  # fmt: skip
