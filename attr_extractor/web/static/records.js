// Compute training hours from the batch size, the epochs and the seconds per step.
const form = document.getElementById('steps');
form.onsubmit = () => false;
form.oninput = () => {
  const [batch, epochs, seconds] = [...form.querySelectorAll('input')].map(input =>
    parseFloat(input.value));
  const steps = Math.floor(form.dataset.photos / batch) * epochs;
  const hours = steps * seconds / 3600, known = [];
  if (isFinite(steps)) known.push(steps.toLocaleString('en') + ' steps');
  if (isFinite(hours)) known.push(hours.toLocaleString('en') + ' hours');
  form.querySelector('output').textContent = known.join(', ');
};
