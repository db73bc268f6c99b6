"""Convolution as GEMM: gather the receptive field of every output as one row of a matrix.

Images are (N, H, W, C); a row of the result holds the taps (kernel row, kernel column, channel),
then zeros up to its padded width. Ranges are ranges of result rows.
"""

from fxsim.engine.kernels._jit import kernel


@kernel
def columns_range(
    start, stop, image, out, height, width, kernel_h, kernel_w, stride, padding, dilation
):
    """Rows are the outputs (n, y, x) of a (height, width) convolution of `image`."""
    channels = image.shape[3]
    used = kernel_h * kernel_w * channels
    for row in range(start, stop):
        n = row // (height * width)
        y = row // width % height
        x = row % width
        position = 0
        for tap_y in range(kernel_h):
            source_y = y * stride - padding + tap_y * dilation
            for tap_x in range(kernel_w):
                source_x = x * stride - padding + tap_x * dilation
                inside = 0 <= source_y < image.shape[1] and 0 <= source_x < image.shape[2]
                for c in range(channels):
                    out[row, position + c] = image[n, source_y, source_x, c] if inside else 0
                position += channels
        for k in range(used, out.shape[1]):
            out[row, k] = 0


@kernel
def columns_back_range(
    start, stop, image, out, height, width, kernel_h, kernel_w, stride, padding, dilation
):
    """Rows are the inputs (n, y, x) of a (height, width) image; `image` is the output's error.

    The transposed gather: tap (a, b) of a row is the error at the output whose tap (a, b) read
    this input, or zero where there is none.
    """
    channels = image.shape[3]
    used = kernel_h * kernel_w * channels
    for row in range(start, stop):
        n = row // (height * width)
        y = row // width % height
        x = row % width
        position = 0
        for tap_y in range(kernel_h):
            scaled_y = y + padding - tap_y * dilation
            source_y = scaled_y // stride
            for tap_x in range(kernel_w):
                scaled_x = x + padding - tap_x * dilation
                source_x = scaled_x // stride
                inside = (
                    scaled_y >= 0
                    and scaled_x >= 0
                    and source_y * stride == scaled_y
                    and source_x * stride == scaled_x
                    and source_y < image.shape[1]
                    and source_x < image.shape[2]
                )
                for c in range(channels):
                    out[row, position + c] = image[n, source_y, source_x, c] if inside else 0
                position += channels
        for k in range(used, out.shape[1]):
            out[row, k] = 0
