"""Operators that fold dimensions into fewer values, run along them, or put them in order."""

from __future__ import annotations

from octet.program.ops.rows import Rebuild, function, operators

OPS: dict[str, Rebuild] = {
    "mean": function("torch.mean"),
    "mean.dim": function("torch.mean"),
    "sum": function("torch.sum"),
    "sum.dim_IntList": function("torch.sum"),
    "max": function("torch.max"),
    "max.dim": function("torch.max"),
    "min": function("torch.min"),
    "min.dim": function("torch.min"),
    "amax": function("torch.amax"),
    "amin": function("torch.amin"),
    "argmax": function("torch.argmax"),
    "argmin": function("torch.argmin"),
    "all": function("torch.all"),
    "all.dim": function("torch.all"),
    "any": function("torch.any"),
    "any.dim": function("torch.any"),
    "cumsum": function("torch.cumsum"),
    "var.dim": function("torch.var"),
    "std.dim": function("torch.std"),
    "var.correction": function("torch.var"),
    "std.correction": function("torch.std"),
    "logsumexp": function("torch.logsumexp"),
    "topk": function("torch.topk"),
    "linalg_vector_norm": function("torch.linalg.vector_norm"),
    # sums, products and counts
    **operators("all.dims any.dims prod prod.dim_int nansum nanmean aminmax special_logsumexp sum_to_size"),
    **operators("count_nonzero count_nonzero.dim_IntList trapezoid.x trapezoid.dx trapz.x trapz.dx"),
    **operators("norm.Scalar norm.ScalarOpt_dim norm.ScalarOpt_dim_dtype norm.ScalarOpt_dtype frobenius_norm.dim"),
    **operators(
        "nuclear_norm nuclear_norm.dim norm_except_dim dist cdist pdist pairwise_distance cosine_similarity renorm"
    ),
    # statistics
    **operators("var std var_mean var_mean.dim var_mean.correction std_mean std_mean.dim std_mean.correction"),
    **operators("median median.dim nanmedian nanmedian.dim mode kthvalue"),
    **operators("quantile quantile.scalar nanquantile nanquantile.scalar histc bincount"),
    # along a dimension
    **operators("cumprod cummax cummin logcumsumexp cumulative_trapezoid.x cumulative_trapezoid.dx diff"),
    **operators("gradient.scalarint gradient.scalararray gradient.array"),
    # order
    **operators("sort sort.stable argsort argsort.stable msort"),
}
