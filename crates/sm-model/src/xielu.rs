//! The trained parameters of xIELU activations (Apertus), as files store them: before the softplus that keeps curvatures
//! positive.
//!
//! Hugging Face models have a tensor of one value for each parameter and layer; GGUF files list the values of all layers in
//! their metadata.

use sm_kernels::plan::{Activation, Xielu};
use sm_tensor::dequantize;

use crate::LoadError;
use crate::config::unsupported;
use crate::load::tensors::Tensors;
use crate::names::{Naming, TensorKind};

/// The parameters of a layer, as stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StoredXielu {
    pub(crate) alpha_p: f32,
    pub(crate) alpha_n: f32,
    pub(crate) beta: f32,
    pub(crate) eps: f32,
}

impl StoredXielu {
    /// The untrained ones; `beta` and `eps` are constants (`XIELUActivation` of transformers).
    pub(crate) const INITIAL: Self = Self { alpha_p: 0.0, alpha_n: 0.0, beta: 0.5, eps: -1e-6 };

    /// Reads the tensors of a layer of a Hugging Face model.
    ///
    /// # Errors
    /// If a tensor of a trained parameter is missing, or one is not a single value.
    pub(crate) fn read(tensors: &Tensors, naming: &Naming, layer: usize) -> Result<Self, LoadError> {
        let name = |kind: TensorKind| naming.tensor(kind.in_layer(layer), "weight").unwrap_or_default();
        let trained = |kind| -> Result<f32, LoadError> {
            let tensor = name(kind);
            single_value(tensors, &tensor)?.ok_or(LoadError::MissingTensor { tensor })
        };
        let constant = |kind, usual| -> Result<f32, LoadError> {
            Ok(single_value(tensors, &name(kind))?.unwrap_or(usual))
        };
        Ok(Self {
            alpha_p: trained(TensorKind::XieluAlphaP)?,
            alpha_n: trained(TensorKind::XieluAlphaN)?,
            beta: constant(TensorKind::XieluBeta, Self::INITIAL.beta)?,
            eps: constant(TensorKind::XieluEps, Self::INITIAL.eps)?,
        })
    }

    /// The activation with these parameters.
    pub(crate) fn activation(self) -> Activation {
        let Self { alpha_p, alpha_n, beta, eps } = self;
        let alpha_n = (f64::from(beta) + softplus(alpha_n)) as f32;
        Activation::Xielu(Xielu { alpha_p: softplus(alpha_p) as f32, alpha_n, beta, eps })
    }
}

/// `ln(1 + e^x)`
fn softplus(x: f32) -> f64 {
    let x = f64::from(x);
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn single_value(tensors: &Tensors, name: &str) -> Result<Option<f32>, LoadError> {
    let Some(index) = tensors.position(name) else { return Ok(None) };
    let info = &tensors.infos()[index];
    let bytes = tensors.stored_bytes(index)?;
    let mut value = [0.0];
    if info.n_values() != 1 || dequantize(info.dtype, &bytes, &mut value).is_err() {
        let reason = "a parameter of an activation is one value".into();
        return Err(unsupported(name, format!("a tensor of shape {:?}", info.shape), reason));
    }
    Ok(Some(value[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curvatures_are_positive_and_the_negative_one_is_at_least_the_slope() {
        let stored = StoredXielu { alpha_p: -40.0, alpha_n: 30.0, ..StoredXielu::INITIAL };
        let Activation::Xielu(Xielu { alpha_p, alpha_n, .. }) = stored.activation() else { unreachable!() };
        assert!((alpha_p / (-40.0f32).exp() - 1.0).abs() < 1e-6, "{alpha_p}");
        assert_eq!(alpha_n, 30.5);
    }
}
