"""What clients learn: real training of small models, many clients at a time, to the same bits.

A task fulfils `hooks.Task`. From cheap to dear:

| task | model | where it runs |
|---|---|---|
| `quadratic.QuadraticTask` | a quadratic loss for each client | NumPy, float64: theory |
| `softmax.SoftmaxTask` | softmax regression | kernels |
| `mlp.MlpTask` | multilayer perceptron, any layers | kernels |
| `torch_task.TorchTask` | any PyTorch module | PyTorch, if installed |

The data of the latter three are `tables.Examples`; their metrics are `classifier`'s. The kernels
calculate in float32 on sixteen lanes (`lanes`), forward and back through dense layers (`panels`,
`dense`, `passes`) from the cross entropy of their outputs (`entropy`), step by the rules of
`hooks.Local` (`descent`), in the order of data that (seed, client, dispatch) says (`order`), for
one dispatch after another (`kernel`), on any number of threads (`network`). `plain` is the same as
NumPy loops: read it first. It gives the same bits, so do all thread counts and the kernels without
the compiler.

A step is on min(batch, samples) samples of the client: all of them where the batch is 0 or as
large, else the next of a keyed shuffle of all, which is shuffled again when it is used up.
"""
