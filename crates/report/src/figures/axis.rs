//! Axes: what a value's place is, and where ticks stand.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Whether equal distances are equal differences or equal ratios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Log,
}

/// An axis with its label.
#[derive(Debug, Clone)]
pub struct Axis {
    pub label: String,
    pub scale: Scale,
    /// Values that the axis reaches to in any case.
    pub within: Option<[f64; 2]>,
}

impl Axis {
    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear, within: None }
    }

    pub fn log(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Log, within: None }
    }

    /// Where `value` is drawn: its logarithm to base ten on a logarithmic axis.
    pub fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
        }
    }

    /// The ruler of an axis that holds all `values`.
    pub fn ruler(&self, values: impl Iterator<Item = f64>) -> Ruler {
        let range = self.range(values);
        // What has no name has no numbers.
        let ticks = if self.label.is_empty() { Vec::new() } else { self.ticks(&range) };
        Ruler { ticks, range, scale: self.scale }
    }

    /// The places that all values fit between, with a little room.
    fn range(&self, values: impl Iterator<Item = f64>) -> Range<f64> {
        let values = values.chain(self.within.into_iter().flatten());
        let drawable =
            values.filter(|value| value.is_finite() && (self.scale == Scale::Linear || *value > 0.0));
        let (low, high) = drawable
            .map(|value| self.place(value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| (low.min(place), high.max(place)));
        if low > high {
            return 0.0..1.0;
        }
        let room = if high > low { 0.04 * (high - low) } else { 0.5 * low.abs().max(0.1) };
        low - room..high + room
    }

    /// Round numbers between the ends, as places.
    fn ticks(&self, range: &Range<f64>) -> Vec<f64> {
        let span = range.end - range.start;
        if self.scale == Scale::Log && span < 2.5 {
            // Within a few powers of ten: 1, 2, 5 of each, or more where these are too few.
            let (first, last) = (range.start.floor() as i32, range.end.ceil() as i32);
            for digits in [&[1.0f64, 2.0, 5.0][..], &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0]] {
                let of_power = |power| digits.iter().map(move |digit| digit.log10() + f64::from(power));
                let ticks: Vec<f64> =
                    (first..=last).flat_map(of_power).filter(|tick| range.contains(tick)).collect();
                if ticks.len() > 2 {
                    return ticks;
                }
            }
        }
        let mut step = round_step(span / 6.0);
        if self.scale == Scale::Log && span >= 2.5 {
            step = step.max(1.0).round();
        }
        let first = (range.start / step).ceil() as i64;
        let last = (range.end / step).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }
}

/// A range of places with its ticks, as plotters wants it.
pub struct Ruler {
    range: Range<f64>,
    ticks: Vec<f64>,
    scale: Scale,
}

impl Ranged for Ruler {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (first, last): (i32, i32)) -> i32 {
        let part = (place - self.range.start) / (self.range.end - self.range.start);
        first + (part * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Ruler {
    fn format_ext(&self, place: &f64) -> String {
        label_of(self.scale, *place)
    }
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = step / power;
    power
        * if digit <= 1.0 {
            1.0
        } else if digit <= 2.0 {
            2.0
        } else if digit <= 5.0 {
            5.0
        } else {
            10.0
        }
}

/// What is written at a place.
fn label_of(scale: Scale, place: f64) -> String {
    let value = match scale {
        Scale::Linear => place,
        Scale::Log => 10f64.powf(place),
    };
    // Steps and logarithms leave the last digits to rounding.
    let value = if value.abs() < 1e-12 && scale == Scale::Linear { 0.0 } else { value };
    if value == 0.0 || (1e-3..1e4).contains(&value.abs()) {
        let text = format!("{value:.4}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let power = value.abs().log10().floor() as i32;
    let digit = value / 10f64.powi(power);
    let (digit, power) = if digit >= 9.95 { (1.0, power + 1) } else { (digit, power) };
    let superscript: String = power.to_string().chars().map(superscript).collect();
    if (digit - 1.0).abs() < 0.05 {
        format!("10{superscript}")
    } else {
        format!("{digit:.0}·10{superscript}")
    }
}

fn superscript(digit: char) -> char {
    match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        _ => '⁰',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(Axis::linear("").ticks(&(-1.0..31.0)), [0.0, 10.0, 20.0, 30.0]);
        let labels = |range: Range<f64>| -> Vec<String> {
            Axis::log("").ticks(&range).into_iter().map(|tick| label_of(Scale::Log, tick)).collect()
        };
        assert_eq!(labels(-0.1..1.5), ["1", "2", "5", "10", "20"]);
        assert_eq!(labels(-5.2..0.1), ["10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"]);
    }

    #[test]
    fn a_range_holds_all_that_can_be_drawn() {
        let range = Axis::log("").range([0.0, 1.0, 100.0, f64::NAN, -5.0].into_iter());
        assert!(range.start < 0.0 && range.end > 2.0 && range.start > -0.2);
        // One value, or none, still has room around it.
        assert!(Axis::linear("").range([0.0].into_iter()).contains(&0.0));
        assert_eq!(Axis::linear("").range(std::iter::empty()), 0.0..1.0);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(label_of(Scale::Linear, 20.0), "20");
        assert_eq!(label_of(Scale::Linear, 0.30000000000000004), "0.3");
        assert_eq!(label_of(Scale::Linear, 20000.0), "2·10⁴");
        assert_eq!(label_of(Scale::Log, -6.0), "10⁻⁶");
        assert_eq!(label_of(Scale::Linear, -0.0), "0");
    }
}
