//! One way to draw all figures: panels of lines over the epochs (or seconds, or a
//! parameter), each the median over the seeds with a band to the extremes.

use plotters::{
    coord::{CoordTranslate, Shift},
    element::DashedPathElement,
    prelude::*,
    style::{FontStyle, register_font, text_anchor},
};

use serde::Serialize;

use super::axis::Axis;
use crate::band::Band;

/// The family that SVG and PNG name alike.
pub const FONT: &str = "sans-serif";
const TEXT: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
/// Pixels of a legend entry's sample.
const SAMPLE: i32 = 34;
const LEGEND_ROW: i32 = 22;
const FONT_SIZE: i32 = 15;

/// How a line is stroked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stroke {
    /// Marks alone.
    None,
    Solid,
    Dashed,
    Dotted,
}

/// What stands on some of a line's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Marker {
    None,
    Disc,
    Square,
    Triangle,
    Cross,
}

/// A line of a figure.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its entry in the legend; none if it is empty.
    pub label: String,
    pub colour: RGBColor,
    pub stroke: Stroke,
    pub marker: Marker,
    pub width: u32,
    /// Whether the extremes are drawn as a band.
    pub shaded: bool,
    /// x, and the band of y there.
    pub points: Vec<(f64, Band)>,
}

/// One coordinate system with its lines.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Above it; nothing if empty.
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

/// Draws panels side by side, each `size` pixels, with one legend above them all.
pub fn draw(panels: &[Panel], size: (u32, u32)) -> Result<String, String> {
    // Text is measured with the font that the PNG is set in. Registering it again changes nothing.
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| "the font is broken".to_owned())?;
    let mut svg = String::new();
    {
        let entries = legend_entries(panels);
        let width = size.0 * panels.len() as u32;
        let legend = legend_height(&entries, width as i32);
        let root = SVGBackend::with_string(&mut svg, (width, size.1 + legend as u32)).into_drawing_area();
        let drawn = || -> Result<(), Box<dyn std::error::Error>> {
            root.fill(&WHITE)?;
            let (top, below) = root.split_vertically(legend);
            draw_legend(&top, &entries, width as i32)?;
            for (panel, area) in panels.iter().zip(below.split_evenly((1, panels.len()))) {
                draw_panel(panel, &area)?;
            }
            root.present()?;
            Ok(())
        };
        drawn().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw_panel(panel: &Panel, area: &Area<'_>) -> Drawn {
    let values = |pick: fn(&(f64, Band)) -> [f64; 2]| {
        panel.lines.iter().flat_map(move |l| l.points.iter().flat_map(pick))
    };
    let (x, y) = (&panel.x, &panel.y);
    let mut builder = ChartBuilder::on(area);
    builder.margin(8).margin_right(18).x_label_area_size(48).y_label_area_size(66);
    if !panel.title.is_empty() {
        builder.caption(&panel.title, (FONT, FONT_SIZE + 1).into_font().color(&TEXT));
    }
    let mut chart = builder.build_cartesian_2d(
        x.ruler(values(|(x, _)| [*x, *x])),
        y.ruler(values(|(_, band)| [band.low, band.high])),
    )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .label_style((FONT, FONT_SIZE - 2).into_font().color(&TEXT))
        .axis_desc_style((FONT, FONT_SIZE).into_font().color(&TEXT))
        .x_desc(&x.label)
        .y_desc(&y.label)
        .draw()?;
    for line in panel.lines.iter().filter(|line| line.shaded && line.points.len() > 1) {
        let edge = |pick: fn(&Band) -> f64| {
            line.points.iter().map(move |(at, band)| (x.place(*at), y.place(pick(band))))
        };
        let mut outline: Vec<_> = edge(|band| band.high).collect();
        outline.extend(edge(|band| band.low).collect::<Vec<_>>().into_iter().rev());
        chart.draw_series([Polygon::new(outline, line.colour.mix(0.18))])?;
    }
    for line in &panel.lines {
        let points: Vec<_> =
            line.points.iter().map(|(at, band)| (x.place(*at), y.place(band.median))).collect();
        let style = line.colour.stroke_width(line.width);
        match line.stroke {
            Stroke::None => chart.draw_series(LineSeries::new([], style))?,
            Stroke::Solid => chart.draw_series(LineSeries::new(points.clone(), style))?,
            Stroke::Dashed => chart.draw_series(DashedLineSeries::new(points.clone(), 9, 5, style))?,
            Stroke::Dotted => chart.draw_series(DashedLineSeries::new(points.clone(), 2, 4, style))?,
        };
        // A marker on every point of a short line, on about seven of a long one.
        let every = if line.stroke == Stroke::None { 1 } else { points.len().div_ceil(7).max(1) };
        for point in points.into_iter().step_by(every) {
            draw_marker(chart.plotting_area(), point, line)?;
        }
    }
    Ok(())
}

/// A marker at a point of a panel, or at a pixel of the legend.
fn draw_marker<C: CoordTranslate>(area: &DrawingArea<SVGBackend<'_>, C>, at: C::From, line: &Line) -> Drawn
where
    C::From: Clone + 'static,
{
    let (filled, outlined) = (line.colour.filled(), line.colour.stroke_width(2));
    match line.marker {
        Marker::None => {}
        Marker::Disc => area.draw(&Circle::new(at, 4, filled))?,
        Marker::Triangle => area.draw(&TriangleMarker::new(at, 6, filled))?,
        Marker::Cross => area.draw(&Cross::new(at, 4, outlined))?,
        Marker::Square => {
            area.draw(&(EmptyElement::at(at.clone()) + Rectangle::new([(-4, -4), (4, 4)], WHITE.filled())))?;
            area.draw(&(EmptyElement::at(at) + Rectangle::new([(-4, -4), (4, 4)], outlined)))?;
        }
    }
    Ok(())
}

/// The lines that the legend names: each label once.
fn legend_entries(panels: &[Panel]) -> Vec<&Line> {
    let mut entries: Vec<&Line> = Vec::new();
    for line in panels.iter().flat_map(|panel| &panel.lines) {
        if !line.label.is_empty() && !entries.iter().any(|entry| entry.label == line.label) {
            entries.push(line);
        }
    }
    entries
}

/// Where each entry begins: x, row.
fn legend_places(entries: &[&Line], width: i32) -> Vec<(i32, i32)> {
    let (mut x, mut row) = (16, 0);
    let mut places = Vec::new();
    for entry in entries {
        let length = SAMPLE + 10 + text_width(&entry.label) + 22;
        if x > 16 && x + length > width {
            (x, row) = (16, row + 1);
        }
        places.push((x, row));
        x += length;
    }
    places
}

fn legend_height(entries: &[&Line], width: i32) -> i32 {
    legend_places(entries, width).last().map_or(0, |(_, row)| 8 + (row + 1) * LEGEND_ROW)
}

fn text_width(text: &str) -> i32 {
    let size = (FONT, FONT_SIZE).into_font().box_size(text);
    size.map_or(9 * text.chars().count() as i32, |(width, _)| width as i32)
}

fn draw_legend(area: &Area<'_>, entries: &[&Line], width: i32) -> Drawn {
    for (line, (x, row)) in entries.iter().zip(legend_places(entries, width)) {
        let y = 8 + row * LEGEND_ROW + LEGEND_ROW / 2;
        let ends = [(x, y), (x + SAMPLE, y)];
        let style = line.colour.stroke_width(line.width);
        match line.stroke {
            Stroke::None => {}
            Stroke::Solid => area.draw(&PathElement::new(ends, style))?,
            Stroke::Dashed => area.draw(&DashedPathElement::new(ends, 9, 5, style))?,
            Stroke::Dotted => area.draw(&DashedPathElement::new(ends, 2, 4, style))?,
        }
        draw_marker(area, (x + SAMPLE / 2, y), line)?;
        let anchored = text_anchor::Pos::new(text_anchor::HPos::Left, text_anchor::VPos::Center);
        let style = (FONT, FONT_SIZE).into_font().color(&TEXT).pos(anchored);
        area.draw(&Text::new(line.label.clone(), (x + SAMPLE + 10, y), style))?;
    }
    Ok(())
}
