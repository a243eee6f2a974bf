//! SVG to PNG.

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb},
};

/// Pixels of the PNG for one of the SVG: three make a figure of 640 pixels 300 dots
/// an inch at 6.4 inches.
const SCALE: f32 = 3.0;

/// Draws `svg` in the embedded font, so that it looks the same on every machine.
pub fn png(svg: &str) -> Result<Vec<u8>, String> {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
    let size = tree.size();
    let (width, height) = ((SCALE * size.width()) as u32, (SCALE * size.height()) as u32);
    let mut pixels = Pixmap::new(width, height).ok_or("the picture is empty")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}
