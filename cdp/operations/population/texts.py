"""What the seeded population asks, answers and looks at, in its own languages."""

INQUIRIES = {
    "de": (
        ("product", "Ersatzteil für Schreibtischlampe", "Guten Tag, gibt es den Schirm der Lampe auch einzeln?"),
        ("service", "Reparatur", "Mein Stuhl knarrt seit einer Woche. Kann ihn jemand ansehen?"),
        ("information", "Lieferzeit", "Wie lange dauert die Lieferung zurzeit?"),
    ),
    "en": (
        ("product", "Replacement shade", "Hello, can I buy the shade of the desk lamp on its own?"),
        ("service", "Repair", "My chair has been creaking for a week. Could somebody take a look?"),
        ("information", "Delivery time", "How long does delivery take at the moment?"),
    ),
    "fr": (
        ("product", "Pièce de rechange", "Bonjour, vendez-vous l'abat-jour séparément ?"),
        ("information", "Délai de livraison", "Quel est le délai de livraison en ce moment ?"),
    ),
    "es": (
        ("product", "Recambio", "Hola, ¿se puede comprar la pantalla por separado?"),
        ("information", "Plazo de entrega", "¿Cuánto tarda la entrega ahora?"),
    ),
    "pl": (
        ("product", "Część zamienna", "Dzień dobry, czy można kupić sam klosz?"),
        ("information", "Czas dostawy", "Ile trwa teraz dostawa?"),
    ),
    "pt": (
        ("product", "Peça de reposição", "Olá, vocês vendem a cúpula separadamente?"),
        ("information", "Prazo de entrega", "Qual é o prazo de entrega no momento?"),
    ),
    "ja": (
        ("product", "交換部品について", "ランプのシェードだけを購入できますか。"),
        ("information", "納期について", "現在の納期を教えてください。"),
    ),
}
QUOTATION = {
    "de": ("Angebot erbeten", "Bitte um ein Angebot für die Ausstattung von zwölf Arbeitsplätzen."),
    "en": ("Request for quotation", "Please quote for the equipment of twelve workplaces."),
    "fr": ("Demande de devis", "Merci de nous adresser un devis pour douze postes de travail."),
    "es": ("Solicitud de presupuesto", "Por favor, envíen un presupuesto para doce puestos de trabajo."),
    "pl": ("Zapytanie ofertowe", "Prosimy o ofertę na wyposażenie dwunastu stanowisk pracy."),
    "pt": ("Pedido de orçamento", "Por favor, enviem um orçamento para doze postos de trabalho."),
    "ja": ("お見積りのお願い", "十二席分の備品のお見積りをお願いいたします。"),
}
REMARKS = {
    "de": ("Alles bestens.", "Die Lieferung kam spät.", "Gern wieder!"),
    "en": ("All good.", "Delivery was late.", "Would buy again!"),
    "fr": ("Très satisfait.", "Livraison en retard.", "Je recommande !"),
    "es": ("Todo perfecto.", "La entrega llegó tarde.", "¡Repetiré!"),
    "pl": ("Wszystko w porządku.", "Dostawa się spóźniła.", "Polecam!"),
    "pt": ("Tudo certo.", "A entrega atrasou.", "Recomendo!"),
    "ja": ("満足しています。", "配送が遅れました。", "また購入します。"),
}
WORDINGS = {
    "information": "Yes, send me information about products, the policy and events.",
    "promotions": "Yes, send me offers chosen by what I looked at and bought.",
    "site_improvement": "Yes, use how I use the pages to make them better.",
}
PAGES = ("/", "/lamps", "/desks", "/chairs", "/kitchen", "/outdoor", "/sale", "/help", "/cart", "/account")
DEVICES = (
    ("laptop", "Windows 11", "Firefox"),
    ("laptop", "macOS 15", "Safari"),
    ("laptop", "Ubuntu 24.04", "Chromium"),
    ("mobile", "Android 15", "Chrome"),
    ("mobile", "iOS 18", "Safari"),
    ("tablet", "iPadOS 18", "Safari"),
)
