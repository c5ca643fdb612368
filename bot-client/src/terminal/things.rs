//! Scenes of games that are not known: every entity as a dot with its kind.

use super::history::Pose;
use super::lens::Lens;
use super::scene::{Form, Paint, Scene, layer, stars};

/// Any other game: dots with their kinds.
pub(super) fn things(lens: &Lens, poses: &[Pose], own: Option<u32>) -> Scene {
    let mut scene = Scene::through(lens);
    if lens.is_board {
        let far = lens.edge / 2.0;
        let corners = [[-far, -far], [far, -far], [far, far], [-far, far]];
        for (i, corner) in corners.into_iter().enumerate() {
            let edge = Form::Line(corner, corners[(i + 1) % 4]);
            scene.shapes.push((Paint::Edge, edge));
        }
    } else {
        stars(lens, &mut scene);
    }
    // On a board positions are squares, and a square's middle is half a step on.
    let middle = if lens.is_board { 0.5 } else { 0.0 };
    for pose in poses {
        let at = pose.position.map(|p| p + middle);
        let place = if lens.is_board { at.map(|p| p - lens.edge / 2.0) } else { lens.see(at) };
        if !lens.holds(place, 0.0) {
            continue;
        }
        if Some(pose.id) == own {
            let paint = Paint::Own { hue: 50, is_protected: false };
            scene.shapes.push((paint, Form::Text(place, "@".to_owned())));
        } else {
            thing(lens, pose.kind, place, &mut scene);
        }
    }
    scene.shapes.sort_by_key(|(paint, _)| layer(*paint));
    scene
}

/// A dot with its kind.
pub(super) fn thing(lens: &Lens, kind: u32, place: [f64; 2], scene: &mut Scene) {
    let beside = [place[0] + 2.0 * lens.dot, place[1]];
    let paint = Paint::Thing(kind);
    scene.shapes.push((paint, Form::Dot(place)));
    scene.shapes.push((paint, Form::Text(beside, kind.to_string())));
}
