//! The paper's eight figures, and three of ours; with more than two arms, two for each more; three of the
//! whole network where a study has it.
//!
//! The reference is blue, solid and marked by discs; the next arm is vermilion, dashed and
//! marked by squares, and so on: told apart without colour too, and the same everywhere
//! (from the palette of Okabe and Ito, which does not depend on colour vision).

mod axis;
mod chart;
pub mod images;
pub mod posterior;
#[cfg(feature = "png")]
mod raster;
pub mod single;
mod study;
mod whole;
mod why;

use plotters::style::RGBColor;

use self::chart::Panel;
pub use self::{
    chart::{Marker, Stroke},
    study::all,
    whole::label as parameters_label,
    why::{MeasurePanel, arms_by_measure, rates},
};
use crate::ReportError;

/// Blue, vermilion, bluish green, reddish purple, orange, sky blue.
pub const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const STROKES: [Stroke; 3] = [Stroke::Solid, Stroke::Dashed, Stroke::Dotted];
const MARKERS: [Marker; 4] = [Marker::Disc, Marker::Square, Marker::Triangle, Marker::Cross];

const PANEL: (u32, u32) = (620, 400);
const HALF: (u32, u32) = (470, 400);

/// The colour, stroke and marker of the arm at `place`: 0 for the reference, 1 for the next.
pub fn looks(place: usize) -> (RGBColor, Stroke, Marker) {
    (COLOURS[place % COLOURS.len()], STROKES[place % STROKES.len()], MARKERS[place % MARKERS.len()])
}

/// A figure, drawn.
pub struct Figure {
    /// The name of its files.
    pub name: String,
    /// What it shows, and from which files.
    pub caption: String,
    /// As SVG.
    pub svg: String,
    /// The same as PNG, in a build that makes them.
    pub png: Option<Vec<u8>>,
    /// What is drawn, number by number.
    pub csv: Vec<u8>,
}

impl Figure {
    /// Its files: extension and content.
    pub fn files(&self) -> Vec<(&'static str, &[u8])> {
        let png = self.png.as_deref().map(|png| ("png", png));
        [("svg", self.svg.as_bytes()), ("csv", self.csv.as_slice())].into_iter().chain(png).collect()
    }
}

/// A figure, to be drawn.
struct Drawing {
    number: usize,
    caption: String,
    panels: Vec<Panel>,
}

impl Drawing {
    fn draw(self) -> Result<Figure, ReportError> {
        let name = format!("figure-{}", self.number);
        let failed = |problem: String| ReportError::Figure { name: name.clone(), problem };
        let size = if self.panels.len() > 1 { HALF } else { PANEL };
        let svg = chart::draw(&self.panels, size).map_err(failed)?;
        #[cfg(feature = "png")]
        let png = Some(raster::png(&svg).map_err(failed)?);
        #[cfg(not(feature = "png"))]
        let png = None;
        let csv = csv_of(&self.panels).map_err(|error| failed(error.to_string()))?;
        Ok(Figure { name, caption: self.caption, svg, png, csv })
    }
}

/// Every point of every line.
fn csv_of(panels: &[Panel]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["panel", "line", "x", "x_label", "median", "low", "high", "y_label"])?;
    for panel in panels {
        for line in &panel.lines {
            for (x, band) in &line.points {
                let numbers = [*x, band.median, band.low, band.high].map(|number| number.to_string());
                let [x, median, low, high] = &numbers;
                let label = if line.label.is_empty() { "(unnamed)" } else { &line.label };
                writer.write_record([
                    &panel.title,
                    label,
                    x,
                    &panel.x.label,
                    median,
                    low,
                    high,
                    &panel.y.label,
                ])?;
            }
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}
