// Functions that the interactive pages share. Texts are inserted as text, never as HTML.

export const $ = id => document.getElementById(id);

export function element(tag, text = '', css = '') {
  const created = document.createElement(tag);
  created.textContent = text;
  created.className = css;
  return created;
}

export function button(css = '') {
  const created = element('button', '', css);
  created.type = 'button';
  return created;
}

// `content` is the JSON of an error response, empty if the server does not answer.
export class RequestError extends Error {
  constructor(message, content = {}) {
    super(message);
    this.content = content;
  }
}

// Returns the JSON of a GET, or of a POST if there is a body; throws RequestError on failure.
export async function request(path, body, offline = 'The server does not answer; try again.') {
  const options = body && {
    method: 'POST',
    headers: {'Content-Type': 'application/json'},
    body: JSON.stringify(body),
  };
  let response, content;
  try {
    response = await fetch(path, options);
    content = await response.json();
  } catch {
    throw new RequestError(offline);
  }
  if (!response.ok) throw new RequestError(content.error, content);
  return content;
}
