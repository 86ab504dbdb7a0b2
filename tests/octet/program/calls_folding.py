"""Calls of reductions, scans, orders, products, linear algebra and transforms."""

from __future__ import annotations

import torch
from operator_calls import batch, each, itself, number, positive, small, square, unit, whole
from torch import Tensor, fft, linalg
from torch.nn import functional

aten = torch.ops.aten


def vector(x: Tensor) -> Tensor:
    """[6]."""
    return x[0, 0, 0]


def matrix(x: Tensor) -> Tensor:
    """[6, 6]."""
    return x[0, 0]


def wave(x: Tensor) -> Tensor:
    """[batch, 144]."""
    return x.reshape(batch(x), -1)


CALLS = {
    "sums": lambda x: (
        *each(torch, "sum mean prod nansum nanmean count_nonzero max min all any amax amin argmax argmin", itself)(x),
        *each(torch, "sum mean prod nansum nanmean count_nonzero amax amin argmax argmin", itself, number(1))(x),
        *each(torch, "all any", itself, number(1))(x),
        *each(torch, "all any sum mean", itself, number((1, 2)))(x),
        x.sum(dtype=torch.float64),
        x.sum_to_size(1, 6, 6),
    ),
    "extremes": lambda x: (
        *x.max(1),
        *x.min(2, keepdim=True),
        *x.aminmax(),
        *x.aminmax(dim=1),
        *x.flatten(1).topk(3),
        *x.kthvalue(2, 1),
    ),
    "statistics": lambda x: (
        *each(torch, "var std median nanmedian", itself)(x),
        *each(torch, "var_mean std_mean", itself)(x),
        *each(torch, "var std var_mean std_mean", itself, number(1))(x),
        x.var(1, correction=0),
        x.std((1, 2), correction=0),
        torch.std_mean(x, (1, 2), correction=0),
        torch.var_mean(x, 1, unbiased=False),
        torch.std_mean(x, 1, unbiased=False),
        x.var(unbiased=False),
        x.std(unbiased=False),
        torch.var_mean(x, unbiased=False),
        torch.std_mean(x, unbiased=False),
    ),
    "order statistics": lambda x: (
        *x.median(1),
        *x.nanmedian(1),
        *small(x).mode(1),
        x[0].quantile(0.3),
        x[0].quantile(torch.tensor([0.2, 0.5]), 1),
        x[0].nanquantile(0.3, 1),
        x[0].nanquantile(torch.tensor([0.2, 0.5]), 1),
        torch.histc(x, 10, -2, 2),
        torch.bincount(small(x).flatten(), minlength=5),
    ),
    "norms": lambda x: (
        x.norm(),
        x.norm(dim=1),
        x.norm(2, 1, dtype=torch.float64),
        x.norm(dtype=torch.float64),
        torch.norm(x, "fro", dim=(2, 3)),
        torch.norm(matrix(x), "nuc"),
        torch.norm(x, "nuc", dim=(2, 3)),
        torch.norm_except_dim(x[0], 2, 0),
        aten.nuclear_norm(matrix(x)),
        aten.nuclear_norm.dim(x, [2, 3]),
        aten.frobenius_norm.dim(x, [2, 3]),
        aten.norm.Scalar(x),
        aten.norm.ScalarOpt_dim(x, 2, [1]),
        aten.norm.ScalarOpt_dim_dtype(x, 2, [1], False, dtype=torch.float64),
        aten.norm.ScalarOpt_dtype(x, 2, dtype=torch.float64),
        each(aten, "_weight_norm", lambda x: x[0], lambda x: x[0, :, :1, :1])(x),
        linalg.vector_norm(x, 3, 1),
        linalg.norm(x),
        linalg.norm(x, "fro", dim=(2, 3)),
        linalg.matrix_norm(x),
        linalg.matrix_norm(matrix(x), 2),
        x.renorm(2, 0, 1.0),
    ),
    "distances": lambda x: (
        torch.dist(x, -x),
        torch.cdist(x, x + 1),
        torch.pdist(x[0, 0]),
        functional.pairwise_distance(x, x + 1),
        functional.cosine_similarity(x, x + 1),
        x.count_nonzero((1, 2)),
    ),
    "scans": lambda x: (
        *each(torch, "cumsum cumprod logcumsumexp cummax cummin logsumexp", itself, number(1))(x),
        torch.special.logsumexp(x, 1),
        x.diff(2, 1),
        x.diff(prepend=x[..., :1]),
        torch.trapezoid(x, dim=1),
        torch.trapezoid(x, positive(x).cumsum(1), dim=1),
        torch.trapz(x, dx=0.5, dim=1),
        torch.trapz(x, positive(x).cumsum(1), dim=1),
        torch.cumulative_trapezoid(x, dim=1),
        torch.cumulative_trapezoid(x, positive(x).cumsum(1), dim=1),
    ),
    "gradients": lambda x: (
        torch.gradient(matrix(x), spacing=2.0),
        torch.gradient(matrix(x), spacing=2.0, dim=1),
        torch.gradient(matrix(x), dim=(0, 1)),
        torch.gradient(matrix(x), spacing=2.0, dim=(0, 1)),
    ),
    "sorting": lambda x: (
        *x.sort(),
        *x.sort(1, descending=True),
        *x.sort(dim=1, stable=True),
        x.argsort(1),
        x.argsort(dim=1, stable=True, descending=True),
        x.msort(),
    ),
    "products": lambda x: (
        *each(torch, "dot vdot inner outer ger", vector, vector)(x),
        *each(torch, "matmul", itself, itself)(x),
        *each(torch, "mm kron", matrix, matrix)(x),
        matrix(x).mv(vector(x)),
        torch.bmm(x[:, 0], x[:, 1]),
        torch.einsum("bchw,bdhw->bcd", x, x),
        torch.cross(x[:, :3], x[:, 1:], 1),
        linalg.cross(x[:, :3], x[:, 1:], dim=1),
        linalg.vecdot(x, x),
        linalg.matmul(x, x),
        torch.tensordot(x, x, ([1, 2, 3], [1, 2, 3])),
    ),
    "chains": lambda x: (
        torch.addmm(matrix(x), x[0, 1], x[0, 2], beta=0.5),
        torch.baddbmm(x[:, 0], x[:, 1], x[:, 2]),
        torch.addmv(vector(x), matrix(x), vector(x)),
        torch.addr(matrix(x), vector(x), vector(x)),
        torch.addbmm(matrix(x), x[:, 0], x[:, 1]),
        torch.chain_matmul(matrix(x), x[0, 1], x[0, 2]),
        linalg.multi_dot([matrix(x), x[0, 1], x[0, 2]]),
        torch.matrix_power(matrix(x), 3),
        linalg.matrix_power(x, 2),
        linalg.vander(vector(x)),
        torch.vander(vector(x)),
        matrix(x).trace(),
        linalg.diagonal(x),
    ),
    "inverses": lambda x: (
        *each(torch, "inverse pinverse det logdet cholesky cholesky_inverse", square)(x),
        *each(linalg, "inv pinv det cholesky matrix_rank cond eigvalsh svdvals", square)(x),
        *torch.slogdet(square(x)),
        *linalg.slogdet(square(x)),
        *linalg.inv_ex(square(x)),
        *linalg.cholesky_ex(square(x)),
        aten.linalg_pinv.atol_rtol_float(square(x), rtol=1e-4) + aten.linalg_pinv(square(x), 1e-4),
        linalg.pinv(square(x), rtol=1e-4),
        aten.linalg_matrix_rank.atol_rtol_float(square(x), rtol=1e-3) + aten.linalg_matrix_rank(square(x), 1e-3),
        linalg.matrix_rank(square(x), rtol=1e-3),
        linalg.cond(square(x)[0], "fro"),
        linalg.tensorinv(matrix(x), 1),
    ),
    "solutions": lambda x: (
        linalg.solve(square(x), x),
        *linalg.solve_ex(square(x), x),
        linalg.solve_triangular(square(x).tril(), x, upper=False),
        *torch.triangular_solve(x, square(x).triu()),
        torch.cholesky_solve(x, linalg.cholesky(square(x))),
        linalg.lu_solve(*linalg.lu_factor(square(x)), x),
        torch.lu_solve(x, *linalg.lu_factor(square(x))),
        linalg.tensorsolve(square(x)[0, 0], vector(x)),
    ),
    "decompositions": lambda x: (
        *linalg.qr(x),
        *torch.qr(x),
        *linalg.lu(x),
        *linalg.lu_factor(x),
        linalg.lu_factor_ex(x)[0],
        linalg.svd(x)[1],
        torch.svd(x)[1],
        linalg.eigh(square(x))[0],
        linalg.eigvals(square(x)).abs().sum(-1),
        linalg.eig(square(x))[0].abs().sum(-1),
        torch.matrix_exp(x * 0.1),
        linalg.matrix_exp(x * 0.1),
        linalg.householder_product(x, x[..., 0]),
    ),
    "Fourier transforms": lambda x: (
        *(value.abs() for value in each(fft, "fft ifft rfft ihfft fft2 ifft2 rfft2 ihfft2", itself)(x)),
        *(value.abs() for value in each(fft, "fftn ifftn rfftn ihfftn", itself)(x)),
        *each(fft, "irfft hfft irfft2 hfft2", fft.fft)(x),
        fft.irfftn(fft.rfft2(x), dim=(-2, -1)),
        fft.hfftn(fft.fft2(x), dim=(-2, -1)),
        fft.fftshift(x),
        fft.ifftshift(x, 2),
    ),
    "complex values": lambda x: (
        torch.complex(x, x).abs(),
        torch.polar(positive(x), x).angle(),
        torch.real(fft.fft(x)) + torch.imag(fft.fft(x)),
        torch.view_as_real(
            torch.view_as_complex(x.unflatten(3, (3, 2))) * torch.polar(torch.ones(3), torch.arange(3.0))
        ),
        fft.fft(x).conj().imag + aten.conj(fft.fft(x)).imag,
        torch.view_as_real(fft.fft(x).conj().resolve_conj().resolve_neg()),
        torch.conj_physical(fft.fft(x)).imag,
        fft.fft(x).mH.real + fft.fft(x).adjoint().real,
        fft.fft(x)[0, 0].H.real,
        torch.einsum("bchw,bdhw->bcd", fft.rfft(x), fft.rfft(x)).abs(),
        (fft.rfft(x) @ fft.rfft(x).mT * 2j + 1).real,
        torch.cat([fft.fft(x), x.to(torch.complex64)], 1)[:, 1:].reshape(batch(x), -1).transpose(0, 1).abs(),
    ),
    "spectrograms": lambda x: (
        torch.stft(wave(x), 16, 4, window=torch.hann_window(16), return_complex=True).abs(),
        torch.stft(wave(x), 16, 4, window=torch.hann_window(16), center=False, return_complex=True).abs(),
        aten.stft.center(wave(x), 16, 4, center=False, return_complex=True).abs(),
        torch.istft(
            torch.stft(wave(x), 16, 4, window=torch.hann_window(16), return_complex=True),
            16,
            4,
            window=torch.hann_window(16),
        ),
    ),
    "folded integers": lambda x: (whole(x).sum(1), whole(x).amax(1), unit(x).prod()),
}
