//! Pictures of samples in rows, each with a line beneath: what `kappa influence` shows where there are images.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::ReportError;

/// Pixels of the side of a picture, and of the line beneath.
const SIDE: usize = 84;
const LINE: usize = 30;
const GAP: usize = 10;
/// Pixels of what stands above the columns.
const HEADING: usize = 24;

/// A picture of bytes, row by row, and what is said of it.
pub struct Picture<'a> {
    /// A byte a pixel, 0 being black.
    pub pixels: &'a [u8],
    /// In two lines.
    pub words: [String; 2],
}

/// Rows of pictures of `size` (rows, columns), with words above some columns by their numbers, as SVG.
///
/// # Errors
///
/// [`ReportError::Figure`].
pub fn grid(
    size: [usize; 2],
    headings: &[(usize, &str)],
    rows: &[Vec<Picture<'_>>],
) -> Result<String, ReportError> {
    let most = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = most * (SIDE + GAP) + GAP;
    let height = HEADING + rows.len() * (SIDE + LINE + GAP) + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (column, words) in headings {
        let x = GAP + column * (SIDE + GAP);
        svg.push_str(&format!("<text x=\"{x}\" y=\"18\" font-weight=\"bold\">{}</text>\n", escaped(words)));
    }
    for (row, pictures) in rows.iter().enumerate() {
        let y = HEADING + GAP + row * (SIDE + LINE + GAP);
        for (column, picture) in pictures.iter().enumerate() {
            let x = GAP + column * (SIDE + GAP);
            let png = STANDARD.encode(png(size, picture.pixels)?);
            svg.push_str(&format!(
                "<image x=\"{x}\" y=\"{y}\" width=\"{SIDE}\" height=\"{SIDE}\" style=\"image-rendering:pixelated\" \
                 xlink:href=\"data:image/png;base64,{png}\"/>\n"
            ));
            for (line, words) in picture.words.iter().enumerate() {
                let y = y + SIDE + 12 + 12 * line;
                svg.push_str(&format!("<text x=\"{x}\" y=\"{y}\">{}</text>\n", escaped(words)));
            }
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn png([rows, columns]: [usize; 2], pixels: &[u8]) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, columns as u32, rows as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let written = || encoder.write_header()?.write_image_data(pixels);
    let failed = |error: png::EncodingError| ReportError::Figure {
        name: "influence".to_owned(),
        problem: error.to_string(),
    };
    written().map_err(failed)?;
    Ok(bytes)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
