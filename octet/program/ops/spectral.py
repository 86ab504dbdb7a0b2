"""Complex values and Fourier transforms. They stay in float: no int8 kernel takes them."""

from __future__ import annotations

from octet.program.ops.rows import Rebuild, leaf, operators

OPS: dict[str, Rebuild] = {
    **operators("fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2"),
    **operators("fft_hfft2 fft_ihfft2 fft_fftn fft_ifftn fft_rfftn fft_irfftn fft_hfftn fft_ihfftn"),
    **operators("fft_fftshift fft_ifftshift stft stft.center istft"),
    **operators("complex polar real imag angle conj resolve_conj resolve_neg conj_physical _conj"),
    "view_as_complex": leaf("view_as_complex"),
    **operators("view_as_real adjoint mH matrix_H"),
}
