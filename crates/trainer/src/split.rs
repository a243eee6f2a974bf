//! A split on the device, once, as bytes.

use std::{num::NonZeroUsize, ops::Range, sync::Arc};

use burn::{
    data::dataset::Dataset,
    tensor::{DType, Device, Int, Tensor, TensorData},
};
use kappa_data::LabelledImages;
use kappa_fused::{ByteScale, DeviceError};
use kappa_model::{Inputs, Network};
use kappa_run::Scaling;
use kappa_world::{Alone, World};

use crate::TrainError;

/// Bytes of f32 inputs that one chunk of a pass over a split is worth. What becomes of
/// them is written and read several times, so it should stay in a processor's cache, and
/// need no fresh pages.
const CHUNK_BYTES: usize = 4 << 20;
/// Bytes of f32 inputs that a device which has no bytes holds at once: half of the
/// smallest maximal binding of a WebGPU adapter (128 MiB).
const PIECE_BYTES: usize = 64 << 20;

/// Labelled images on a device: a byte a pixel, scaled when a batch is taken.
#[derive(Debug, Clone)]
pub struct DeviceSplit {
    pixels: Pixels,
    /// [N]
    labels: Tensor<1, Int>,
    /// The identity [K, K], whose rows are the classes as distributions.
    one_hot: Tensor<2>,
    scaling: PixelScaling,
    inputs: usize,
    samples: usize,
    /// The processes that share the images.
    world: Arc<dyn World>,
    /// Images of other processes before these, and how many there are in all.
    place: (usize, usize),
}

/// How the bytes lie on the device.
#[derive(Debug, Clone)]
enum Pixels {
    /// [N, d] bytes.
    Bytes(Tensor<2, Int>),
    /// [N, q] words of 32 bits, q = ceil(d / 4), for devices without bytes.
    /// Word w holds pixels w, w + q, w + 2q and w + 3q from its lowest byte up,
    /// so that unpacking is four shifts side by side.
    Words(Tensor<2, Int>),
}

/// input = factor * pixel + offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelScaling {
    factor: f64,
    offset: f64,
}

impl PixelScaling {
    /// The scaling that `scaling` names; [`Scaling::Standardised`] takes mean and
    /// deviation from all pixels of `train`.
    ///
    /// # Errors
    ///
    /// [`TrainError::ConstantPixels`] if they are all equal.
    pub fn new(scaling: Scaling, train: &LabelledImages) -> Result<Self, TrainError> {
        if scaling == Scaling::Unit {
            return Ok(Self { factor: 1.0 / 255.0, offset: 0.0 });
        }
        let (sum, squares) = train
            .pixels()
            .iter()
            .map(|&pixel| u64::from(pixel))
            .fold((0u64, 0u64), |(sum, squares), pixel| (sum + pixel, squares + pixel * pixel));
        let count = train.pixels().len() as f64;
        let mean = sum as f64 / count;
        let variance = squares as f64 / count - mean * mean;
        if variance <= 0.0 {
            return Err(TrainError::ConstantPixels(train.pixels().first().copied().unwrap_or(0)));
        }
        let factor = variance.sqrt().recip();
        Ok(Self { factor, offset: -mean * factor })
    }
}

impl DeviceSplit {
    /// Puts `images` on `device`.
    pub fn new(images: &LabelledImages, classes: usize, scaling: PixelScaling, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let (samples, inputs) = (images.len(), images.inputs());
        let labels = images.labels().iter().map(|&label| i32::from(label)).collect();
        Self {
            pixels: Pixels::new(images.pixels(), [samples, inputs], &device),
            labels: Tensor::from_data(TensorData::new::<i32, _>(labels, [samples]), &device),
            one_hot: Tensor::eye(classes, &device),
            scaling,
            inputs,
            samples,
            world: Arc::new(Alone),
            place: (0, samples),
        }
    }

    /// The same images as the own ones of a process of `world`, with `first` of others before them, of `all`.
    pub fn shared(self, world: Arc<dyn World>, first: usize, all: usize) -> Self {
        Self { world, place: (first, all), ..self }
    }

    /// The processes that share the images.
    pub fn world(&self) -> &Arc<dyn World> {
        &self.world
    }

    /// Images of other processes before these.
    pub fn first(&self) -> usize {
        self.place.0
    }

    /// The number of images of all processes.
    pub fn all(&self) -> usize {
        self.place.1
    }

    /// The number of samples N, of this process.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The number of inputs d: pixels an image.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The samples of these numbers, in their order, as a split.
    pub fn at(&self, numbers: &[i32]) -> Self {
        let indices = TensorData::new(numbers.to_vec(), [numbers.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &self.labels.device());
        let taken = |rows: &Tensor<2, Int>| rows.clone().select(0, indices.clone());
        let pixels = match &self.pixels {
            Pixels::Bytes(bytes) => Pixels::Bytes(taken(bytes)),
            Pixels::Words(words) => Pixels::Words(taken(words)),
        };
        let labels = self.labels.clone().select(0, indices);
        let samples = numbers.len();
        Self { pixels, labels, samples, world: Arc::new(Alone), place: (0, samples), ..self.clone() }
    }

    /// The images at `indices` \[n\].
    pub fn images_at(&self, indices: Tensor<1, Int>) -> Images {
        self.images(match &self.pixels {
            Pixels::Bytes(bytes) => bytes.clone().select(0, indices),
            Pixels::Words(words) => unpack(words.clone().select(0, indices), self.inputs),
        })
    }

    /// How many images any device of this kind can take at once.
    pub fn piece(&self) -> NonZeroUsize {
        let most = match self.pixels {
            Pixels::Bytes(_) => usize::MAX,
            Pixels::Words(_) => PIECE_BYTES / (self.inputs * size_of::<f32>()),
        };
        NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN)
    }

    /// All images in their order, in pieces of `length`.
    pub fn pieces(&self, length: NonZeroUsize) -> impl Iterator<Item = Images> {
        self.ranges(length.get()).map(|range| self.images_in(range))
    }

    /// Classes of the samples at `indices` \[n\], each as a distribution: [n, K].
    pub fn targets_at(&self, indices: Tensor<1, Int>) -> Tensor<2> {
        self.one_hot.clone().select(0, self.labels.clone().select(0, indices))
    }

    /// The whole split in its order, in chunks that any adapter can bind.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> {
        self.chunks_of_multiples(1)
    }

    /// The same, in chunks of a multiple of `granularity` samples (the last one
    /// may have fewer).
    pub fn chunks_of_multiples(&self, granularity: usize) -> impl Iterator<Item = Chunk> {
        let most = CHUNK_BYTES / (self.inputs * size_of::<f32>());
        let length = (most / granularity).max(1) * granularity;
        self.batches(NonZeroUsize::new(length).unwrap_or(NonZeroUsize::MIN))
    }

    /// The whole split in its order, `length` samples at a time.
    pub fn batches(&self, length: NonZeroUsize) -> impl Iterator<Item = Chunk> {
        self.ranges(length.get()).map(|range| self.chunk(range))
    }

    /// The same, each `length` of samples in pieces of `piece` samples, the last one being the rest.
    pub fn batches_in_pieces(
        &self,
        length: NonZeroUsize,
        piece: NonZeroUsize,
    ) -> impl Iterator<Item = Vec<Chunk>> {
        self.ranges(length.get()).map(move |batch| {
            let end = batch.end;
            let starts = batch.step_by(piece.get());
            starts.map(|start| self.chunk(start..start.saturating_add(piece.get()).min(end))).collect()
        })
    }

    fn chunk(&self, range: Range<usize>) -> Chunk {
        Chunk {
            images: self.images_in(range.clone()),
            targets: self.one_hot.clone().select(0, self.labels.clone().slice(range)),
        }
    }

    /// The samples' numbers, `length` at a time.
    fn ranges(&self, length: usize) -> impl Iterator<Item = Range<usize>> {
        let samples = self.samples;
        (0..samples).step_by(length).map(move |start| start..(start.saturating_add(length)).min(samples))
    }

    fn images_in(&self, range: Range<usize>) -> Images {
        self.images(match &self.pixels {
            Pixels::Bytes(bytes) => bytes.clone().slice(range),
            Pixels::Words(words) => unpack(words.clone().slice(range), self.inputs),
        })
    }

    fn images(&self, bytes: Tensor<2, Int>) -> Images {
        Images { bytes, scaling: self.scaling }
    }
}

/// Images on a device, as bytes and with what makes inputs of them.
#[derive(Debug, Clone)]
pub struct Images {
    /// [n, d]
    bytes: Tensor<2, Int>,
    scaling: PixelScaling,
}

impl Images {
    /// The same with the magnitude of everything that makes an input of a byte: no input is
    /// larger in magnitude than these.
    pub fn magnitudes(&self) -> Self {
        let PixelScaling { factor, offset } = self.scaling;
        let scaling = PixelScaling { factor: factor.abs(), offset: offset.abs() };
        Self { bytes: self.bytes.clone(), scaling }
    }

    /// The inputs in double precision, [n, d] row by row.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if they cannot be read.
    pub fn values(&self) -> Result<Vec<f64>, DeviceError> {
        let PixelScaling { factor, offset } = self.scaling;
        let bytes = self.bytes.clone().try_into_data().map_err(DeviceError::new)?;
        Ok(bytes.iter::<i64>().map(|byte| factor * byte as f64 + offset).collect())
    }

    /// What goes into a network's first layer.
    pub fn inputs(self) -> Inputs {
        let PixelScaling { factor, offset } = self.scaling;
        Inputs::Bytes(self.bytes, ByteScale { factor, offset })
    }

    /// W1 x + b1 of a network, which may record gradients: [n, m].
    pub fn preactivations(self, network: &Network) -> Tensor<2> {
        let PixelScaling { factor, offset } = self.scaling;
        let scale = ByteScale { factor, offset };
        network.preactivations_of_bytes(self.bytes, scale)
    }
}

/// Consecutive samples of a split.
pub struct Chunk {
    /// n of them.
    pub images: Images,
    /// [n, K], one 1 a row.
    pub targets: Tensor<2>,
}

impl Pixels {
    fn new(pixels: &[u8], [samples, inputs]: [usize; 2], device: &Device) -> Self {
        if device.supports_dtype(DType::U8) {
            let data = TensorData::new(pixels.to_vec(), [samples, inputs]);
            return Self::Bytes(Tensor::from_data(data, (device, DType::U8)));
        }
        let width = inputs.div_ceil(4);
        let words: Vec<i32> = pixels
            .chunks_exact(inputs)
            .flat_map(|image| {
                (0..width).map(move |word| {
                    let byte = |plane: usize| image.get(plane * width + word).copied().unwrap_or(0);
                    i32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
                })
            })
            .collect();
        Self::Words(Tensor::from_data(TensorData::new(words, [samples, width]), (device, DType::I32)))
    }
}

/// [n, q] words -> [n, d] pixels.
fn unpack(words: Tensor<2, Int>, inputs: usize) -> Tensor<2, Int> {
    let planes = (0..4)
        .map(|plane| words.clone().bitwise_right_shift_scalar(8 * plane).bitwise_and_scalar(255))
        .collect();
    let pixels = Tensor::cat(planes, 1);
    let [samples, padded] = pixels.dims();
    if padded == inputs { pixels } else { pixels.slice([0..samples, 0..inputs]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kappa_fused::dense_of_bytes;

    fn images(samples: usize, size: [usize; 2]) -> LabelledImages {
        let count = samples * size[0] * size[1];
        let pixels = (0..count).map(|i| (i * 89 % 256) as u8).collect();
        let labels = (0..samples).map(|i| (i % 3) as u8).collect();
        LabelledImages::new("made up", size, pixels, labels).unwrap()
    }

    fn numbers(tensor: Tensor<2>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }

    #[test]
    fn words_unpack_to_the_pixels_whatever_their_number() {
        let device = Device::flex();
        for inputs in 1..=9 {
            let images = images(5, [1, inputs]);
            let width = inputs.div_ceil(4);
            let Pixels::Words(words) = pack_for_test(&images, &device) else { unreachable!() };
            assert_eq!(words.dims(), [5, width]);
            let expected: Vec<f64> = images.pixels().iter().map(|&p| f64::from(p)).collect();
            assert_eq!(numbers(unpack(words, inputs).float()), expected, "{inputs} pixels");
        }
    }

    /// The packed form, also on a device that has bytes.
    fn pack_for_test(images: &LabelledImages, device: &Device) -> Pixels {
        let inputs = images.inputs();
        let width = inputs.div_ceil(4);
        let mut words = vec![0i32; images.len() * width];
        for (n, image) in images.pixels().chunks(inputs).enumerate() {
            for (i, &pixel) in image.iter().enumerate() {
                words[n * width + i % width] |= i32::from(pixel) << (8 * (i / width));
            }
        }
        Pixels::Words(Tensor::from_data(TensorData::new(words, [images.len(), width]), device))
    }

    #[test]
    fn batches_and_chunks_are_the_scaled_images_with_their_classes() {
        let device = Device::flex();
        let images = images(4, [2, 3]);
        let split = DeviceSplit::new(&images, 3, PixelScaling::new(Scaling::Unit, &images).unwrap(), &device);
        let all: Vec<f64> =
            images.pixels().iter().map(|&p| f64::from((f64::from(p) / 255.0) as f32)).collect();
        // A first layer that hands its inputs on, with a bias of zero.
        let inputs = |images: Images| {
            let scale = ByteScale { factor: images.scaling.factor, offset: 0.0 };
            numbers(dense_of_bytes(images.bytes, scale, Tensor::eye(6, &device), Tensor::zeros([6], &device)))
        };
        let chunks: Vec<Chunk> = split.chunks().collect();
        assert_eq!(chunks.len(), 1);
        let chunk = inputs(chunks[0].images.clone());
        // One rounding of the factor and one of the product, in f32.
        for (found, expected) in chunk.iter().zip(&all) {
            assert!((found - expected).abs() <= 2.0 * f64::from(f32::EPSILON));
        }
        assert_eq!(chunk.len(), all.len());
        let indices = || Tensor::<1, Int>::from_data([2, 0], &device);
        assert_eq!(inputs(split.images_at(indices())), [&chunk[12..18], &chunk[0..6]].concat());
        let two = split.at(&[2, 0]);
        let two: Vec<Chunk> = two.batches(NonZeroUsize::MAX).collect();
        assert_eq!(inputs(two[0].images.clone()), [&chunk[12..18], &chunk[0..6]].concat());
        assert_eq!(numbers(two[0].targets.clone()), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        for length in [1, 3, 4, usize::MAX] {
            let pieces: Vec<Images> = split.pieces(NonZeroUsize::new(length).unwrap()).collect();
            assert_eq!(pieces.len(), 4usize.div_ceil(length));
            assert_eq!(pieces.into_iter().flat_map(inputs).collect::<Vec<f64>>(), chunk);
        }
        assert_eq!(numbers(split.targets_at(indices())), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn standardised_pixels_have_mean_zero_and_variance_one() {
        let images = images(7, [3, 5]);
        let scaling = PixelScaling::new(Scaling::Standardised, &images).unwrap();
        let scaled: Vec<f64> =
            images.pixels().iter().map(|&p| scaling.factor * f64::from(p) + scaling.offset).collect();
        let n = scaled.len() as f64;
        let mean = scaled.iter().sum::<f64>() / n;
        let variance = scaled.iter().map(|x| x * x).sum::<f64>() / n;
        // f64 sums of 105 numbers of order one.
        assert!(mean.abs() < 1e-13 && (variance - 1.0).abs() < 1e-13, "{mean} {variance}");
    }

    #[test]
    fn constant_pixels_cannot_be_standardised() {
        let images = LabelledImages::new("flat", [1, 2], vec![9; 4], vec![0, 1]).unwrap();
        assert!(PixelScaling::new(Scaling::Standardised, &images).is_err());
        assert!(PixelScaling::new(Scaling::Unit, &images).is_ok());
    }
}
