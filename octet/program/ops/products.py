"""Products of matrices, and linear algebra."""

from __future__ import annotations

from octet.program.ops.linear_maps import affine, einsum, product, tensordot
from octet.program.ops.rows import Rebuild, function, leaf, operators

OPS: dict[str, Rebuild] = {
    "matmul": product("torch.matmul", "self", "other"),
    "linalg_matmul": product("torch.matmul", "self", "other"),
    "mm": product("torch.mm", "self", "mat2"),
    "bmm": function("torch.bmm"),
    "addmm": affine,
    "baddbmm": function("torch.baddbmm"),
    "matrix_exp": leaf("matrix_exp"),
    "linalg_matrix_exp": leaf("matrix_exp"),
    "einsum": einsum,
    "tensordot": tensordot,
    **operators("dot vdot mv inner outer ger kron cross linalg_cross linalg_vecdot chain_matmul"),
    **operators("addmv addr addbmm linalg_multi_dot matrix_power linalg_matrix_power linalg_vander vander trace"),
    # decompositions and solutions
    **operators("det linalg_det logdet slogdet linalg_slogdet inverse linalg_inv linalg_inv_ex pinverse"),
    **operators("linalg_pinv linalg_pinv.atol_rtol_float linalg_pinv.atol_rtol_tensor linalg_matrix_rank"),
    **operators("linalg_matrix_rank.atol_rtol_float linalg_matrix_rank.atol_rtol_tensor"),
    **operators("linalg_cholesky linalg_cholesky_ex cholesky cholesky_inverse cholesky_solve linalg_qr qr"),
    **operators("linalg_solve linalg_solve_ex linalg_solve_triangular triangular_solve linalg_lu"),
    **operators("linalg_lu_factor linalg_lu_factor_ex linalg_lu_solve lu_solve linalg_svd linalg_svdvals svd"),
    **operators("linalg_eigh linalg_eigvalsh linalg_eig linalg_eigvals"),
    **operators("linalg_norm linalg_norm.ord_str linalg_matrix_norm linalg_matrix_norm.str_ord"),
    **operators("linalg_cond linalg_cond.p_str linalg_tensorinv linalg_tensorsolve linalg_householder_product"),
    **operators("linalg_diagonal _weight_norm"),
}
